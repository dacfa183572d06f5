"""Tokenize, cut and pad texts for a text tower, and stretch its position table.

Shape legend: N texts, L tokens, P positions of a table, d width.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mova.text.parts import split_to_fit

logger = logging.getLogger(__name__)

FIXED_FAMILIES = frozenset({"siglip", "siglip2"})
"""Model types trained with every text in lower case and padded to one length, with attention to the padding."""
KEPT_POSITIONS = 20
"""Positions that Long-CLIP keeps: those that short captions have trained well."""


def report_dropped(dropped: Sequence[int], limit: int, name: str, advice: str = "") -> None:
    """Log a warning if tokens were dropped.

    Args:
        dropped: tokens cut off each text.
        limit: tokens that the model reads.
        name: of the model.
        advice: more that can be done than splitting the text.
    """
    if any(dropped):
        logger.warning(
            "%d of %d texts are longer than the %d tokens that %s reads: %d tokens were dropped; "
            "split captions into sentences%s",
            *(sum(map(bool, dropped)), len(dropped), limit, name, sum(dropped), advice),
        )


@dataclass(frozen=True)
class TextRule:
    """Text preprocessing of a checkpoint.

    Attributes:
        length: maximum number of tokens per text, special tokens included.
        fixed: every text is padded to `length` and attention includes the padding (SigLIP pools at the last position,
            even if it is padding). False: texts are padded to the longest of a batch and masked.
        lower: whether texts are lower-cased first. SigLIP's own tokenizer does so; SigLIP 2 was trained so, but the
            Gemma tokenizer in its folders on the Hub does not.
    """

    length: int
    fixed: bool = False
    lower: bool = False

    @classmethod
    def for_family(cls, model_type: str, length: int) -> TextRule:
        """Return the rule of an architecture by the `model_type` of its configuration.

        >>> TextRule.for_family("siglip", 64)
        TextRule(length=64, fixed=True, lower=True)
        """
        fixed = model_type in FIXED_FAMILIES
        return cls(length=length, fixed=fixed, lower=fixed)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a configuration file."""
        return asdict(self)

    def token_ids(self, tokenizer: Any, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Tokenize texts, cut to `length`, and count the tokens cut off.

        Cutting keeps the special tokens at the ends (CLIP pools at the end-of-text token).

        Args:
            tokenizer: a transformers tokenizer.
            texts: N texts.

        Returns:
            N lists of ids of different lengths, and N counts.
        """
        prepared = [text.lower() for text in texts] if self.lower else list(texts)
        rows: list[list[int]] = tokenizer(prepared, truncation=False, padding=False, verbose=False)["input_ids"]
        dropped = [max(0, len(row) - self.length) for row in rows]
        long = [i for i, count in enumerate(dropped) if count]
        if long:
            cut = tokenizer([prepared[i] for i in long], truncation=True, max_length=self.length, padding=False)
            for i, row in zip(long, cut["input_ids"], strict=True):
                rows[i] = row
        return rows, dropped

    def parts(self, tokenizer: Any, text: str) -> list[str]:
        """Split a text that has more than `length` tokens into parts that have not.

        Args:
            tokenizer: a transformers tokenizer.
            text: a sentence.
        """

        def count(part: str) -> int:
            prepared = part.lower() if self.lower else part
            return len(tokenizer(prepared, truncation=False, padding=False, verbose=False)["input_ids"])

        return split_to_fit(text, count, self.length)

    def pad(self, rows: Sequence[Sequence[int]], pad_id: int, side: str) -> tuple[Tensor, Tensor]:
        """Pad lists of ids to one tensor, with its mask.

        Args:
            rows: N lists of ids.
            pad_id: id of the padding.
            side: "right" or "left"; used if `fixed`. Otherwise padding goes right, so that positions count from 0.

        Returns:
            int64 (N, L) and bool (N, L), true where a token is real. L is `length` if `fixed`, else the longest row.

        >>> ids, mask = TextRule(8).pad([[5, 6, 7], [5, 7]], pad_id=0, side="right")
        >>> ids.tolist()
        [[5, 6, 7], [5, 7, 0]]
        """
        width = self.length if self.fixed else max(len(row) for row in rows)
        ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for i, row in enumerate(rows):
            columns = slice(width - len(row), width) if self.fixed and side == "left" else slice(0, len(row))
            ids[i, columns] = torch.tensor(row, dtype=torch.long)
            mask[i, columns] = True
        return ids, mask


def stretch_positions(table: Tensor, length: int, keep: int = KEPT_POSITIONS) -> Tensor:
    """Stretch a position table by Long-CLIP's interpolation (Zhang et al. 2024, arXiv 2403.15378).

    The first `keep` rows stay. With r = ceil((length - keep) / (P - keep)), each later row i becomes r rows
    that lead evenly to the next one: `(1 - j/r) table[i] + (j/r) table[i+1]`, j = 0 .. r-1. After the last
    row the last step goes on: `table[-1] + (j/r) (table[-1] - table[-2])`. For P = 77 and length = 248 this
    is the published 20 + 4 * 57.

    Args:
        table: (P, d).
        length: number of rows of the result, at least P; surplus rows are cut if r does not divide evenly.
        keep: rows kept as they are; at least two others must remain.

    Returns:
        (length, d), of the table's type.

    Raises:
        ValueError: the table is too short to stretch, or longer than `length`.
    """
    rows = len(table)
    if length < rows or rows - keep < 2:
        raise ValueError(f"a table of {rows} positions cannot be stretched to {length} with {keep} kept")
    ratio = math.ceil((length - keep) / (rows - keep))
    tail = table[keep:].float()
    following = torch.cat([tail[1:], 2 * tail[-1:] - tail[-2:-1]])
    steps = (torch.arange(ratio, device=table.device) / ratio).view(1, -1, 1)
    stretched = torch.lerp(tail.unsqueeze(1), following.unsqueeze(1), steps).flatten(0, 1)
    return torch.cat([table[:keep], stretched.to(table.dtype)])[:length]
