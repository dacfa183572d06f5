"""Fit an encoder to captioned images and clips in closed form: a ridge map from its frame vectors to its text vectors.

The target is what a scaled copy of the video vector leaves of the text vector, so that a strong ridge keeps the
encoder as it is. The strength is chosen on held-out rows: all clips of one file are held out together. A map that does
not help there is refused. An image is a video of one frame.

Shape legend: N rows, d width, G rows of a held-out gallery.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from mova.data.manifest import Row
from mova.data.readers.captioned import is_image, read_captioned
from mova.errors import UsageError, VideoError
from mova.models.encoder import DualEncoder
from mova.models.fitted.model import Fitted

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Ridge strengths, relative to the mean squared length of a centered video vector."""
FOLDS, LEAST_ROWS = 5, 50
LEAST_ERRORS = 2.0
"""Standard errors by which the held-out gain must exceed zero."""


@dataclass(frozen=True, eq=False)
class LinearMap:
    """The map x -> `weight @ x + bias` of unit video vectors: (d, d) and (d,).

    >>> LinearMap(2 * torch.eye(2), torch.ones(2))(torch.tensor([[1.0, 0.0]]))
    tensor([[3., 1.]])
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, videos: Tensor) -> Tensor:
        """(N, d) -> (N, d)."""
        return videos @ self.weight.T + self.bias


@dataclass(frozen=True)
class FitReport:
    """Held-out figures of a fit; recalls and reciprocal ranks are means over galleries of one fold each.

    Attributes:
        rows: captioned images and clips that were used.
        images: images among them.
        skipped: files that could not be read.
        strength: chosen ridge strength.
        gallery: G, rows of the largest held-out gallery.
        recall_before, recall_after: R@1 of captions, in percent.
        rank_before, rank_after: mean reciprocal rank of captions.
        gain, error: mean gain of the reciprocal rank, and its standard error.

    >>> values = dict(strength=1.0, gallery=10, recall_before=40.0, recall_after=52.0, rank_before=0.5, rank_after=0.61)
    >>> FitReport(rows=50, images=20, skipped=0, **values, gain=0.11, error=0.04).helps
    True
    """

    rows: int
    images: int
    skipped: int
    strength: float
    gallery: int
    recall_before: float
    recall_after: float
    rank_before: float
    rank_after: float
    gain: float
    error: float

    @property
    def helps(self) -> bool:
        """Whether the gain is more than chance."""
        return self.gain > LEAST_ERRORS * self.error

    def to_json(self) -> dict[str, Any]:
        """Return the fields, and whether the map helps."""
        return {**vars(self), "helps": self.helps}


def fit_ridge(videos: Tensor, texts: Tensor, strength: float) -> LinearMap:
    """Return the map that brings video vectors near their text vectors.

    Args:
        videos: unit vectors, (N, d).
        texts: unit vectors, (N, d).
        strength: of the ridge, see `STRENGTHS`; without bound, the map becomes a scaled copy of the centered vectors.

    >>> x = F.normalize(torch.randn(200, 4), dim=-1)
    >>> turned = fit_ridge(x, x.flip(1), 1e-6)(x)
    >>> bool((F.cosine_similarity(turned, x.flip(1)) > 0.9).all())
    True
    """
    center = videos.mean(dim=0)
    x, y = (videos - center).double(), (texts - texts.mean(dim=0)).double()
    scale = ((x * y).sum() / x.square().sum()).clamp(min=0)
    gram = x.T @ x
    identity = torch.eye(len(gram), dtype=gram.dtype)
    ridge = strength * x.square().sum(dim=1).mean()
    weight = scale * identity + torch.linalg.solve(gram + ridge * identity, x.T @ (y - scale * x)).T
    return LinearMap(weight.float(), -(weight @ center.double()).float())


def reciprocal_ranks(videos: Tensor, queries: Tensor) -> npt.NDArray[np.float64]:
    """Return 1 / rank of each query's own video among all of them, (N,); ties count against it.

    >>> videos = torch.eye(2)
    >>> reciprocal_ranks(videos, queries=torch.tensor([[1.0, 0.2], [0.9, 0.5]]))
    array([1. , 0.5])
    """
    scores = F.normalize(queries, dim=-1) @ F.normalize(videos, dim=-1).T
    return 1 / (scores >= scores.diagonal()[:, None]).sum(dim=1).double().numpy()


def split_folds(files: Sequence[str], seed: int) -> list[Tensor]:
    """Return the rows of each fold; all rows of one file are in the same fold.

    Args:
        files: (N,) file of each row.
        seed: of the division.

    Raises:
        UsageError: fewer files than folds.

    >>> [fold.tolist() for fold in split_folds(["a", "a", "b", "c", "d", "e"], seed=0)]
    [[5], [0, 1], [2], [4], [3]]
    """
    rows_of: dict[str, list[int]] = {}
    for number, file in enumerate(files):
        rows_of.setdefault(file, []).append(number)
    if len(rows_of) < FOLDS:
        raise UsageError(f"captions of {len(rows_of)} files; held-out figures need at least {FOLDS} files")
    groups = list(rows_of.values())
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    return [
        torch.tensor([row for group in part.tolist() for row in groups[group]]) for part in order.tensor_split(FOLDS)
    ]


def choose_map(
    videos: Tensor, texts: Tensor, queries: Tensor, files: Sequence[str] | None = None, seed: int = 0
) -> tuple[LinearMap, FitReport]:
    """Choose the ridge strength on held-out rows, and fit all rows with it.

    Args:
        videos: unit vectors, (N, d).
        texts: unit vectors of all captions of a row together, (N, d).
        queries: vectors of one caption per row, with which held-out rows are searched, (N, d).
        files: (N,) file of each row; default: every row has its own.
        seed: of the division into folds.

    Raises:
        UsageError: fewer than `LEAST_ROWS` rows, or too few files.

    >>> texts = F.normalize(torch.randn(100, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    >>> fitted, report = choose_map(texts.flip(1), texts, texts)
    >>> report.recall_after > report.recall_before, report.helps
    (True, True)
    """
    if len(videos) < LEAST_ROWS:
        raise UsageError(
            f"{len(videos)} captioned images and clips; a fit needs at least {LEAST_ROWS}, better a few hundred"
        )
    names = list(map(str, range(len(videos)))) if files is None else files
    folds = split_folds(names, seed)
    before = np.concatenate([reciprocal_ranks(videos[fold], queries[fold]) for fold in folds])
    best: tuple[float, npt.NDArray[np.float64]] | None = None
    for strength in STRENGTHS:
        parts = []
        for number, fold in enumerate(folds):
            rest = torch.cat([other for i, other in enumerate(folds) if i != number])
            fitted = fit_ridge(videos[rest], texts[rest], strength)
            parts.append(reciprocal_ranks(fitted(videos[fold]), queries[fold]))
        after = np.concatenate(parts)
        if best is None or after.mean() > best[1].mean():
            best = (strength, after)
    assert best is not None
    strength, after = best
    gains = after - before
    report = FitReport(
        rows=len(videos),
        images=sum(map(is_image, names)),
        skipped=0,
        strength=strength,
        gallery=max(map(len, folds)),
        recall_before=round(100 * float((before == 1).mean()), 1),
        recall_after=round(100 * float((after == 1).mean()), 1),
        rank_before=round(float(before.mean()), 4),
        rank_after=round(float(after.mean()), 4),
        gain=round(float(gains.mean()), 4),
        error=round(float(gains.std(ddof=1) / np.sqrt(len(gains))), 4),
    )
    return fit_ridge(videos, texts, strength), report


def fit(
    model: DualEncoder,
    source: str | Path,
    *,
    splits: Sequence[str] = (),
    fps: float | None = None,
    seed: int = 0,
    warn: Callable[[str], None] = lambda message: None,
) -> tuple[Fitted, FitReport]:
    """Fit an encoder to captioned images and clips.

    Args:
        model: the encoder.
        source: a manifest, a table, or a folder of images and clips with captions (`mova.data.readers.captioned`).
        splits: use only these; default: all.
        fps: frames per second to sample; default: the model's own rate.
        seed: of the division into folds.
        warn: called with a message for every file that cannot be read; it is left out.

    Returns:
        The encoder with the map, and the held-out figures. The caller decides whether it helps.

    Raises:
        UsageError: too few rows, rows of several parts, or an encoder that cannot be wrapped.
        DataError: a row is invalid.

    >>> import mova
    >>> fit(mova.load("mova-worlds-tiny"), "films/manifest.jsonl")
    Traceback (most recent call last):
        ...
    mova.errors.UsageError: 2 captioned images and clips; a fit needs at least 50, better a few hundred
    """
    fitted = Fitted.around(model)
    data = read_captioned(source)
    if data.bare:
        warn(f"{source}: {data.bare} images or videos without a text file of the same name are left out")
    videos, kept, skipped = [], [], 0
    for row in data.rows:
        if splits and row.split not in splits:
            continue
        try:
            videos.append(model.encode_video(data.folder / row.video, fps, row.start or 0.0, row.end).pooled.cpu())
            kept.append(row)
        except VideoError as error:
            skipped += 1
            warn(str(error))
    if not kept:
        raise UsageError(f"{source}: no captioned file could be read; a fit needs at least {LEAST_ROWS}")
    texts, queries = _encode_captions(model, kept)
    chosen, report = choose_map(torch.stack(videos), texts, queries, [row.video for row in kept], seed)
    report = replace(report, skipped=skipped)
    fitted.set_map(chosen.weight, chosen.bias)
    fitted.config.report = {"encoder": model.name, **vars(report)}
    return fitted, report


def _encode_captions(model: DualEncoder, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Return the unit mean of each row's captions, and its first caption: (N, d) each."""
    means, firsts = [], []
    for row in rows:
        vectors = F.normalize(model.encode_text([caption.text for caption in row.captions]).pooled.cpu(), dim=-1)
        means.append(F.normalize(vectors.mean(dim=0), dim=-1))
        firsts.append(vectors[0])
    return torch.stack(means), torch.stack(firsts)
