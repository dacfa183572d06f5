"""Cells of windows: by hand, and against a search over a fine grid of seconds."""

from __future__ import annotations

import numpy as np
import pytest

from mova.errors import UsageError
from mova.scoring.spans import cell_ends, unseen
from mova.scoring.windows.rule import WindowRule, cell_seconds, cell_starts, uncovered


@pytest.mark.parametrize(("frames", "stride"), [(4, 5), (4, 0), (0, 0), (1, 2)])
def test_a_stride_that_leaves_frames_out_is_refused(frames: int, stride: int) -> None:
    with pytest.raises(UsageError, match=f"windows of {frames} frames need a stride"):
        WindowRule(frames, stride)


@pytest.mark.parametrize(("length", "stride"), [(8, 8), (8, 4), (8, 2), (8, 1), (5, 3)])
def test_a_cell_is_the_time_that_is_nearest_to_the_middle_of_its_window(length: int, stride: int) -> None:
    starts = np.arange(0.0, 60.0, stride)
    windows = np.stack([starts, starts + length], axis=1)
    cells = cell_starts(windows)
    seconds = np.arange(0.25, windows[-1, 1], 0.5)
    nearest = np.abs(seconds[:, None] - windows.mean(axis=1)).argmin(axis=1)
    owner = np.searchsorted(cells, seconds, side="right") - 1
    ties = np.isclose(*np.sort(np.abs(seconds[:, None] - windows.mean(axis=1)), axis=1)[:, :2].T)
    assert np.array_equal(owner[~ties], nearest[~ties])
    assert cells[0] == 0.0
    assert cell_seconds(cells, windows) == (length + stride) / 2


def test_windows_of_one_part_at_a_time_have_the_same_cells() -> None:
    windows = np.array([[0.0, 8.0], [4.0, 12.0], [9.0, 17.0], [30.0, 38.0]])
    parts = [cell_starts(windows[:1]), cell_starts(windows[1:3], 8.0), cell_starts(windows[3:], 17.0)]
    assert np.concatenate(parts).tolist() == cell_starts(windows).tolist() == [0.0, 6.0, 10.5, 30.0]
    assert cell_starts(np.empty((0, 2))).tolist() == []


@pytest.mark.parametrize("stride", [2.0, 4.0, 8.0])
def test_no_cell_reaches_into_missing_frames(stride: float) -> None:
    starts = np.concatenate([np.arange(0.0, 25.0, stride), np.arange(50.0, 75.0, stride)])
    windows = np.stack([starts, starts + 8.0], axis=1)
    last = windows[windows[:, 1] < 40, 1].max()
    cells, duration = cell_starts(windows), float(windows[-1, 1])
    step = cell_seconds(cells, windows)
    ends = cell_ends(cells, duration, step)
    assert ends[starts < 40].max() == last
    assert [(gap.start, gap.end) for gap in unseen(cells, duration, step)] == [(last, 50.0)]
    assert uncovered(windows, duration, 0.5) == [(last, 50.0)]


def test_what_no_window_covers_is_known_at_both_ends() -> None:
    windows = np.array([[2.0, 10.0], [4.0, 12.0]])
    assert uncovered(windows, 14.0, 0.5) == [(0.0, 2.0), (12.0, 14.0)]
    assert uncovered(windows, 12.4, 0.5) == [(0.0, 2.0)]
    assert uncovered(windows, 11.0, 0.5) == [(0.0, 2.0)], "a duration that is understated is no gap"
