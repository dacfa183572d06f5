"""Position tables and padding."""

from __future__ import annotations

import pytest
import torch

from mova.models.two_tower.text_processor import TextRule, stretch_positions


def by_loop(table: torch.Tensor, length: int, keep: int) -> torch.Tensor:
    """Long-CLIP's arithmetic, one row at a time."""
    rows = table.shape[0]
    ratio = -(-(length - keep) // (rows - keep))
    stretched = [table[i] for i in range(keep)]
    for i in range(keep, rows):
        step = table[i + 1] - table[i] if i + 1 < rows else table[i] - table[i - 1]
        stretched += [table[i] + step * j / ratio for j in range(ratio)]
    return torch.stack(stretched[:length])


@pytest.mark.parametrize(
    ("rows", "length", "keep"), [(77, 248, 20), (77, 154, 20), (64, 128, 20), (10, 33, 4), (77, 77, 20)]
)
def test_stretch_equals_the_loop(rows: int, length: int, keep: int) -> None:
    table = torch.randn(rows, 6, generator=torch.Generator().manual_seed(0))
    stretched = stretch_positions(table, length, keep)
    assert stretched.shape == (length, 6)
    torch.testing.assert_close(stretched, by_loop(table, length, keep))
    assert torch.equal(stretched[:keep], table[:keep])


def test_248_is_20_and_four_times_57() -> None:
    table = torch.arange(77.0).unsqueeze(1)
    stretched = stretch_positions(table, 248).squeeze(1)
    assert torch.equal(stretched[20::4], torch.arange(20.0, 77.0))
    assert torch.allclose(stretched[20:].diff(), torch.tensor(0.25))
    assert stretched[-1] == 76.75


@pytest.mark.parametrize(("rows", "length"), [(77, 60), (21, 40), (5, 40)])
def test_tables_that_cannot_be_stretched(rows: int, length: int) -> None:
    with pytest.raises(ValueError, match="cannot be stretched"):
        stretch_positions(torch.zeros(rows, 2), length)


def test_padding_of_both_kinds() -> None:
    rows = [[5, 6], [7]]
    ids, mask = TextRule(10).pad(rows, 0, "left")
    assert ids.tolist() == [[5, 6], [7, 0]]
    assert mask.tolist() == [[True, True], [True, False]]
    ids, mask = TextRule(4, fixed=True).pad(rows, 1, "right")
    assert ids.tolist() == [[5, 6, 1, 1], [7, 1, 1, 1]]
    ids, mask = TextRule(4, fixed=True).pad(rows, 1, "left")
    assert ids.tolist() == [[1, 1, 5, 6], [1, 1, 1, 7]]
    assert mask.tolist() == [[False, False, True, True], [False, False, False, True]]


def test_rules_of_families() -> None:
    assert TextRule.for_family("siglip", 64) == TextRule(64, fixed=True, lower=True)
    assert TextRule.for_family("clip", 77) == TextRule(77)
