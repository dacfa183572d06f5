"""Which frames: index arithmetic only, every rule under its own name.

Other projects call three different rules "uniform"; here each has the name of what it does. Drawn for 8
frames and 3 samples (`x` taken, `.` left out):

    linspace          x..x...x   ends included, rounded down      "uniform" in LanguageBind, over raw frames
    linspace_fps      x..x...x   linspace over the 1-fps list     "uniform" in CLIP4Clip (`slice_framepos 2`)
    segment_midpoint  x..x..x.   middle of each of N segments     "uniform" in InternVideo and ViCLIP
    head              xxx.....   the first N                      CLIP4Clip `slice_framepos 0`
    tail              .....xxx   the last N                       CLIP4Clip `slice_framepos 1`

All counted rules return exactly `count` indices, sorted. Where a video has fewer frames than `count`, indices
repeat (each rule says which); nothing is padded with frames that are not there.

Shape legend: n frames of a video, N samples (`count`). Times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError

Indices = npt.NDArray[np.int64]
Times = npt.NDArray[np.float64]

TOLERANCE = 1e-6
"""Seconds by which a frame may start late and still count as on display: far below any frame rate, above
rounding."""


def linspace(n_frames: int, count: int) -> Indices:
    """`count` indices from the first frame to the last, both included: `np.linspace(0, n - 1, N, dtype=int)`.

    LanguageBind's "uniform", over raw frames. One sample is the first frame. With `count > n_frames` indices
    repeat, spread over the whole video.

    Raises:
        UsageError: `count` or `n_frames` is not positive.
    """
    _check(n_frames, count)
    return np.linspace(0, n_frames - 1, count).astype(np.int64)


def linspace_fps(pts: npt.ArrayLike, count: int, fps: float = 1.0) -> Indices:
    """First the list at `fps` (the frame on display at k / fps), then `linspace` over that list.

    CLIP4Clip's "uniform": it extracts one frame a second, then takes `np.linspace(0, len(list) - 1, N,
    dtype=int)` of the list when the list is the longer one. Here a shorter list repeats indices, as
    `linspace` does.

    Args:
        pts: (n,) non-decreasing times of the frames in seconds; the list starts at the first of them.
        count: how many indices.
        fps: rate of the list.

    Raises:
        UsageError: `count`, `fps` or the number of frames is not positive.
    """
    times = np.asarray(pts, dtype=np.float64)
    _check(len(times), count)
    span = float(times[-1] - times[0])
    listed = fps_times(span + 2 * TOLERANCE, fps)
    return on_display(times, times[0] + linspace(len(listed), count) / fps)


def segment_midpoint(n_frames: int, count: int) -> Indices:
    """The middle frame of each of `count` equal segments: with edges `e = np.linspace(0, n, N + 1)` rounded
    down, `(e[k] + e[k + 1] - 1) // 2`.

    InternVideo's and ViCLIP's "uniform" (their sampler's "middle"). With `count > n_frames` they take every
    frame once and then repeat the last one; so does this.

    Raises:
        UsageError: `count` or `n_frames` is not positive.
    """
    _check(n_frames, count)
    edges = np.linspace(0, n_frames, min(count, n_frames) + 1).astype(np.int64)
    middles = (edges[:-1] + edges[1:] - 1) // 2
    return np.pad(middles, (0, count - len(middles)), mode="edge")


def head(n_frames: int, count: int) -> Indices:
    """The first `count` frames; with `count > n_frames` the last frame repeats.

    Raises:
        UsageError: `count` or `n_frames` is not positive.
    """
    _check(n_frames, count)
    return np.minimum(np.arange(count, dtype=np.int64), n_frames - 1)


def tail(n_frames: int, count: int) -> Indices:
    """The last `count` frames; with `count > n_frames` the first frame repeats.

    Raises:
        UsageError: `count` or `n_frames` is not positive.
    """
    _check(n_frames, count)
    return np.maximum(np.arange(n_frames - count, n_frames, dtype=np.int64), 0)


@dataclass(frozen=True)
class FpsTimes(Sequence[float]):
    """The times `start + k / fps`, k = 0 ... `total - 1`, in seconds: a list that takes no room."""

    start: float
    fps: float
    total: int

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, at: Any) -> Any:
        picked = range(self.total)[at]
        if isinstance(picked, range):
            return [self.start + k / self.fps for k in picked]
        return self.start + picked / self.fps

    def index_from(self, time: float) -> int:
        """Index of the first of the times that is not before `time`; the length where all are."""
        at = min(max(math.ceil((time - self.start) * self.fps), 0), self.total)
        while at > 0 and self.start + (at - 1) / self.fps >= time:
            at -= 1
        while at < self.total and self.start + at / self.fps < time:
            at += 1
        return at


def fps_times(duration: float, fps: float, start: float = 0.0) -> FpsTimes:
    """The times `start + k / fps` that lie before `duration`, in seconds; k = 0, 1, 2, ...

    They are counted, not listed: constant memory, whatever the duration.

    A video of positive length always has at least the sample at `start`; `start >= duration` gives none.

    Raises:
        UsageError: `fps` is not positive, `start` is negative, or one of the numbers is not finite.
    """
    if not (np.isfinite(fps) and fps > 0):
        raise UsageError(f"fps must be a positive number of frames per second, not {fps}")
    if not (np.isfinite(start) and start >= 0 and np.isfinite(duration)):
        raise UsageError(f"start and duration must be finite seconds, start not negative, not {start} and {duration}")
    most = max(0, math.ceil((duration - start) * fps) + 1)
    return FpsTimes(start, fps, FpsTimes(start, fps, most).index_from(duration - TOLERANCE))


def on_display(pts: npt.ArrayLike, times: npt.ArrayLike) -> Indices:
    """Index of the frame that a viewer sees at each time: the last with `pts <= time`; before the first, the
    first.

    Args:
        pts: (n,) non-decreasing seconds, n > 0. Of equal times the last frame is the one that stays on
            display.
        times: (N,) seconds, any order.

    Raises:
        UsageError: there is no frame.
    """
    shown = np.asarray(pts, dtype=np.float64)
    if len(shown) == 0:
        raise UsageError("there is no frame to display: the list of frame times is empty")
    asked = np.asarray(times, dtype=np.float64)
    return np.maximum(np.searchsorted(shown, asked + TOLERANCE, side="right") - 1, 0).astype(np.int64)


RULES: dict[str, Callable[[Times, int], Indices]] = {
    "linspace": lambda pts, count: linspace(len(pts), count),
    "linspace_fps": linspace_fps,
    "segment_midpoint": lambda pts, count: segment_midpoint(len(pts), count),
    "head": lambda pts, count: head(len(pts), count),
    "tail": lambda pts, count: tail(len(pts), count),
}
"""Name -> `rule(pts, count)`: the counted rules under one signature, frame times (n,) and N to indices
(N,)."""


def _check(n_frames: int, count: int) -> None:
    if count <= 0:
        raise UsageError(f"the number of frames to sample must be positive, not {count}")
    if n_frames <= 0:
        raise UsageError(f"a video needs at least one frame to sample from, not {n_frames}")
