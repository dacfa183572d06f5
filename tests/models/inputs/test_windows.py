"""Windows of a stream of frames, against all windows of the whole video at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from mova.models.inputs.windows import cut_windows
from mova.scoring.windows.rule import WindowRule


def at_once(times: np.ndarray, rule: WindowRule, step: float) -> list[tuple[float, float, list[int]]]:
    """Start, end and frames of each window, by a loop over the runs of a whole video."""
    breaks = [0, *(np.flatnonzero(np.diff(times) > 1.5 * step) + 1).tolist(), len(times)]
    windows = []
    for first, stop in pairwise(breaks):
        frames = list(range(first, stop))
        ends = [*times[first + 1 : stop].tolist(), float(times[stop - 1]) + step]
        if len(frames) < rule.frames:
            chosen = [frames[i * len(frames) // rule.frames] for i in range(rule.frames)]
            windows.append((float(times[first]), ends[-1], chosen))
            continue
        starts = list(range(0, len(frames) - rule.frames + 1, rule.stride))
        if starts[-1] + rule.frames < len(frames):
            starts.append(len(frames) - rule.frames)
        for k in starts:
            windows.append((float(times[first + k]), ends[k + rule.frames - 1], frames[k : k + rule.frames]))
    return windows


@pytest.mark.parametrize("rule", [WindowRule(4, 4), WindowRule(4, 2), WindowRule(4, 1), WindowRule(5, 3)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_any_parts_give_the_windows_of_the_whole(rule: WindowRule, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for count in (1, 3, 4, 5, 8, 13, 40):
        steps = 0.5 + rng.uniform(-0.1, 0.1, count)
        steps[rng.random(count) < 0.08] += 3.0  # missing frames
        times = np.cumsum(steps) - steps[0]
        frames = torch.arange(count)[:, None].expand(count, 2).to(torch.uint8)
        cuts = np.unique(np.append(rng.integers(1, count + 1, size=rng.integers(0, 6)), [0, count]))
        parts = [(times[a:b], frames[a:b]) for a, b in pairwise(cuts.tolist())]
        got = [
            (start, end, window[:, 0].tolist())
            for windows, stacked in cut_windows(parts, rule, 2.0)
            for (start, end), window in zip(windows.tolist(), stacked, strict=True)
        ]
        assert got == at_once(times, rule, 0.5)


def test_few_frames_are_kept_while_a_long_video_passes() -> None:
    alive: list[int] = []

    def parts() -> object:
        for i in range(200):
            yield np.arange(8.0) + 8 * i, torch.full((8, 1), i % 256, dtype=torch.uint8)

    for windows, frames in cut_windows(parts(), WindowRule(4, 2), 1.0):  # type: ignore[arg-type]
        alive.append(len(windows) * frames[0].numel())
    assert max(alive) <= (8 + 4) // 2 * 4
    assert sum(alive) // 4 == (1600 - 4) // 2 + 1


def test_no_parts_give_no_windows() -> None:
    assert list(cut_windows([], WindowRule(4, 2), 1.0)) == []
