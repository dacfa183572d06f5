"""Fit a linear map from the token states of one text encoder to those of another, in closed form.

Both encoders read the same texts. Each token of the target is paired with the tokens of the source that cover the same
characters, so the vocabularies may differ. The map is a ridge regression on these pairs.

Shape legend: M L tokens of source and target, n pairs of tokens, C D widths of source and target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mova.errors import UsageError

RIDGE = 1e-3
"""Penalty of the weights, relative to the mean variance of the source's dimensions."""
HELD_OUT = 10
"""Every tenth text is held out to measure the fit; the final map is fitted on all texts."""
LEAST_TEXTS = 20

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reader:
    """A text encoder with its tokenizer.

    Attributes:
        encoder: returns `last_hidden_state`, and `hidden_states` on request.
        tokenizer: a fast tokenizer of transformers.
        length: number of tokens to which texts are padded and cut.
        layer: index in `hidden_states` of the states that are used; None: `last_hidden_state`.
        masked: whether the encoder is given the mask of real tokens.
    """

    encoder: Any
    tokenizer: Any
    length: int
    layer: int | None = None
    masked: bool = False

    @torch.no_grad()
    def read(self, text: str) -> tuple[Array, npt.NDArray[np.int64], int]:
        """Return states (L, C), character spans (L, 2) and the number of real tokens, of which special spans are empty.

        The encoder runs on its own device, in its own precision.
        """
        batch = self.tokenizer(
            text,
            padding="max_length",
            max_length=self.length,
            truncation=True,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        device = next(self.encoder.parameters()).device
        mask = {"attention_mask": batch["attention_mask"].to(device)} if self.masked else {}
        output = self.encoder(batch["input_ids"].to(device), **mask, output_hidden_states=self.layer is not None)
        states = output.last_hidden_state if self.layer is None else output.hidden_states[self.layer]
        real = int(batch["attention_mask"].sum())
        return states[0].double().cpu().numpy(), batch["offset_mapping"][0].numpy(), real


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted map.

    Attributes:
        projection: the map, C to D, float32.
        explained: share of the variance of the target's states that it explains on texts held out (R², at most 1).
        tokens: number n of token pairs.
    """

    projection: nn.Linear
    explained: float
    tokens: int


def fit_projection(source: Reader, target: Reader, texts: Sequence[str]) -> Fit:
    """Fit the map from the states of `source` to those of `target` on texts.

    Paddings are paired too, as many as a text has real tokens, if the target's pipeline attends to them
    (`target.masked` is false).

    Raises:
        UsageError: fewer than `LEAST_TEXTS` distinct texts.

    >>> import mova
    >>> from mova.models.tiny_checkpoint import write_tiny_clip
    >>> from mova.text_to_video.guide import text_side
    >>> texts = [f"a dog runs {n} times" for n in range(40)]
    >>> model = text_side(mova.load(write_tiny_clip("tiny-clip", texts)))
    >>> reader = Reader(model.towers[1], model.tokenizer, 77)
    >>> round(fit_projection(reader, reader, texts).explained, 1)
    1.0
    """
    chosen = distinct_texts(texts, "texts of a projection")
    pairs = [_paired(source.read(text), target.read(text), not target.masked) for text in chosen]
    held, fitted = pairs[::HELD_OUT], [pair for i, pair in enumerate(pairs) if i % HELD_OUT]
    x, y = _joined(held)
    weights, bias = solve_ridge(*_joined(fitted))
    errors = np.square(y - x @ weights - bias).sum()
    explained = 1.0 - float(errors / np.square(y - y.mean(axis=0)).sum())
    x, y = _joined(pairs)
    weights, bias = solve_ridge(x, y)
    projection = nn.Linear(*weights.shape)
    with torch.no_grad():
        projection.weight.copy_(torch.from_numpy(weights.T))
        projection.bias.copy_(torch.from_numpy(bias))
    return Fit(projection, explained, len(x))


def distinct_texts(texts: Iterable[str], where: str) -> list[str]:
    """Return the different texts that are not empty.

    Args:
        texts: the texts.
        where: their file, for messages.

    Raises:
        UsageError: fewer than `LEAST_TEXTS`.

    Example:
        >>> distinct_texts([*"abcdefghijklmnopqrst", "a ", ""], "texts.txt")[-1]
        't'
    """
    distinct = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if len(distinct) < LEAST_TEXTS:
        raise UsageError(f"{where}: a projection needs at least {LEAST_TEXTS} different texts, not {len(distinct)}")
    return distinct


def solve_ridge(x: Array, y: Array, ridge: float = RIDGE) -> tuple[Array, Array]:
    """Return the weights (C, D) and bias (D,) that minimize the squared error of `x @ weights + bias` plus a penalty.

    Args:
        x: (n, C).
        y: (n, D).
        ridge: penalty of the squared weights per pair, relative to the mean variance of a column of `x`.

    Example:
        >>> weights, bias = solve_ridge(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]]), ridge=0)
        >>> weights.round(6).tolist(), bias.round(6).tolist()
        ([[2.0]], [1.0])
    """
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    centered = x - mean_x
    gram = centered.T @ centered
    penalty = ridge * np.trace(gram) / len(gram)
    weights: Array = np.linalg.solve(gram + penalty * np.eye(len(gram)), centered.T @ (y - mean_y))
    return weights, mean_y - mean_x @ weights


def overlaps(target: npt.NDArray[np.int64], source: npt.NDArray[np.int64]) -> Array:
    """Return weights (L, M): each target token's mean over the source tokens that share characters with it.

    Rows of tokens without a counterpart, such as special tokens, are 0.

    Args:
        target: character spans (L, 2).
        source: character spans (M, 2).

    Example:
        >>> overlaps(np.array([[0, 0], [0, 4]]), np.array([[0, 2], [2, 4], [5, 6]])).tolist()
        [[0.0, 0.0, 0.0], [0.5, 0.5, 0.0]]
    """
    first = np.maximum(target[:, None, 0], source[None, :, 0])
    last = np.minimum(target[:, None, 1], source[None, :, 1])
    shared = (last > first).astype(np.float64)
    total = shared.sum(axis=1, keepdims=True)
    return np.divide(shared, total, out=np.zeros_like(shared), where=total > 0)


def _paired(
    source: tuple[Array, npt.NDArray[np.int64], int], target: tuple[Array, npt.NDArray[np.int64], int], padded: bool
) -> tuple[Array, Array]:
    """Return the pairs of one text: words by their characters, the last token (end of text), and paddings."""
    (x, spans_x, real_x), (y, spans_y, real_y) = source, target
    weights = overlaps(spans_y[:real_y], spans_x[:real_x])
    weights[real_y - 1] = np.eye(real_x)[real_x - 1]
    if not weights[0].any():
        weights[0, 0] = 1.0
    kept = weights.any(axis=1)
    rows_x, rows_y = [weights[kept] @ x[:real_x]], [y[:real_y][kept]]
    if padded:
        count = min(real_y, len(x) - real_x, len(y) - real_y)
        rows_x.append(x[real_x : real_x + count])
        rows_y.append(y[real_y : real_y + count])
    return np.concatenate(rows_x), np.concatenate(rows_y)


def _joined(pairs: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    xs, ys = zip(*pairs, strict=True)
    return np.concatenate(xs), np.concatenate(ys)
