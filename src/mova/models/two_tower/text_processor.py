"""Texts as a text tower wants them: tokens, padding, what is cut off, and longer position tables.

Shape legend: N texts, L tokens, P positions of a table, d width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

FIXED_FAMILIES = frozenset({"siglip", "siglip2"})
"""Model types trained with every text lower-cased and padded to the same length, padding attended to."""
KEPT_POSITIONS = 20
"""Positions that Long-CLIP leaves alone: the ones that short captions have trained well."""


@dataclass(frozen=True)
class TextRule:
    """How a checkpoint wants its texts.

    Attributes:
        length: most tokens a text, special ones included.
        fixed: every text is padded to `length` and padding takes part in attention (SigLIP pools at the last
            position, whatever stands there). False: padded to the longest of a batch and masked.
        lower: texts are lower-cased first. SigLIP's own tokenizer does so; SigLIP 2 was trained so, but the
            Gemma tokenizer that its hub folders name does not.
    """

    length: int
    fixed: bool = False
    lower: bool = False

    @classmethod
    def for_family(cls, model_type: str, length: int) -> TextRule:
        """The rule of a family by the `model_type` of its configuration."""
        fixed = model_type in FIXED_FAMILIES
        return cls(length=length, fixed=fixed, lower=fixed)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a configuration file."""
        return asdict(self)

    def token_ids(self, tokenizer: Any, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Tokens of each text, cut to `length`, and how many tokens of each were cut off.

        Cutting keeps the special tokens in their places (CLIP pools at the end-of-text token).

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

    def pad(self, rows: Sequence[Sequence[int]], pad_id: int, side: str) -> tuple[Tensor, Tensor]:
        """One rectangle of ids and its mask.

        Args:
            rows: N lists of ids.
            pad_id: what fills the rest.
            side: "right" or "left", heeded where `fixed`; elsewhere padding goes right, so that positions
                count from 0.

        Returns:
            int64 (N, L) and bool (N, L), true where a token is real. L is `length` where `fixed`, else the
            longest row.
        """
        width = self.length if self.fixed else max(len(row) for row in rows)
        ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for i, row in enumerate(rows):
            place = slice(width - len(row), width) if self.fixed and side == "left" else slice(0, len(row))
            ids[i, place] = torch.tensor(row, dtype=torch.long)
            mask[i, place] = True
        return ids, mask


def stretch_positions(table: Tensor, length: int, keep: int = KEPT_POSITIONS) -> Tensor:
    """A longer position table by Long-CLIP's interpolation (Zhang et al. 2024, arXiv 2403.15378).

    The first `keep` rows stay. With r = ceil((length - keep) / (P - keep)), each later row i becomes r rows
    that lead evenly to the next one: `(1 - j/r) table[i] + (j/r) table[i+1]`, j = 0 .. r-1. After the last
    row the last step goes on: `table[-1] + (j/r) (table[-1] - table[-2])`. For P = 77 and length = 248 this
    is the published 20 + 4 * 57.

    Args:
        table: (P, d).
        length: rows wanted, at least P; rows beyond it are cut where r does not divide evenly.
        keep: rows left alone; at least two others must remain.

    Returns:
        (length, d), the table's type.

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
