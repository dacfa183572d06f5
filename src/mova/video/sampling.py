"""Rules for sampling frames: index arithmetic only, every rule under its own name.

Other projects call three different rules "uniform"; here each rule is named after what it does. For 8 frames and
3 samples (`x` selected, `.` not selected):

    linspace          x..x...x   ends included, rounded down      "uniform" in LanguageBind, over raw frames
    linspace_fps      x..x...x   linspace over the 1-fps list     "uniform" in CLIP4Clip (`slice_framepos 2`)
    segment_midpoint  x..x..x.   middle of each of N segments     "uniform" in InternVideo and ViCLIP
    head              xxx.....   the first N                      CLIP4Clip `slice_framepos 0`
    tail              .....xxx   the last N                       CLIP4Clip `slice_framepos 1`

All rules return exactly `count` sorted indices. If a video has fewer frames than `count`, indices repeat (each rule
documents which); videos are never padded with made-up frames.

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
"""Seconds by which a frame may start late and still count as on display: far below any frame interval, above
rounding errors."""


def linspace(n_frames: int, count: int) -> Indices:
    """Return `count` indices from the first frame to the last, inclusive: `np.linspace(0, n - 1, N, dtype=int)`.

    LanguageBind's "uniform", over raw frames. A single sample is the first frame. With `count > n_frames`, indices
    repeat, spread over the whole video.

    Raises:
        UsageError: `count` or `n_frames` is not positive.

    Example:
        >>> linspace(8, 3).tolist()
        [0, 3, 7]
    """
    _check(n_frames, count)
    return np.linspace(0, n_frames - 1, count).astype(np.int64)


def linspace_fps(pts: npt.ArrayLike, count: int, fps: float = 1.0) -> Indices:
    """Return `count` indices: list the frames on display at `k / fps`, then apply `linspace` to that list.

    CLIP4Clip's "uniform": it extracts one frame per second, then takes `np.linspace(0, len(list) - 1, N, dtype=int)`
    if the list is longer. Here, a shorter list repeats indices, as in `linspace`.

    Args:
        pts: (n,) non-decreasing times of the frames in seconds; the list starts at the first one.
        count: number of indices.
        fps: frames per second of the list.

    Raises:
        UsageError: `count`, `fps` or the number of frames is not positive.

    Example:
        >>> linspace_fps([0.0, 0.5, 1.0, 1.5, 2.0], count=3).tolist()
        [0, 2, 4]
    """
    times = np.asarray(pts, dtype=np.float64)
    _check(len(times), count)
    span = float(times[-1] - times[0])
    listed = fps_times(span + 2 * TOLERANCE, fps)
    return on_display(times, times[0] + linspace(len(listed), count) / fps)


def segment_midpoint(n_frames: int, count: int) -> Indices:
    """Return the middle frame of each of `count` equal segments.

    With edges `e = np.linspace(0, n, N + 1)`, rounded down, these are `(e[k] + e[k + 1] - 1) // 2`. This is the
    "uniform" of InternVideo and ViCLIP (their sampler's "middle"). With `count > n_frames`, every frame is taken once
    and then the last one repeats, as in their code.

    Raises:
        UsageError: `count` or `n_frames` is not positive.

    Example:
        >>> segment_midpoint(8, 3).tolist()
        [0, 3, 6]
    """
    _check(n_frames, count)
    edges = np.linspace(0, n_frames, min(count, n_frames) + 1).astype(np.int64)
    middles = (edges[:-1] + edges[1:] - 1) // 2
    return np.pad(middles, (0, count - len(middles)), mode="edge")


def head(n_frames: int, count: int) -> Indices:
    """Return the first `count` indices; with `count > n_frames`, the last frame repeats.

    Raises:
        UsageError: `count` or `n_frames` is not positive.

    Example:
        >>> head(8, 3).tolist()
        [0, 1, 2]
    """
    _check(n_frames, count)
    return np.minimum(np.arange(count, dtype=np.int64), n_frames - 1)


def tail(n_frames: int, count: int) -> Indices:
    """Return the last `count` indices; with `count > n_frames`, the first frame repeats.

    Raises:
        UsageError: `count` or `n_frames` is not positive.

    Example:
        >>> tail(8, 3).tolist()
        [5, 6, 7]
    """
    _check(n_frames, count)
    return np.maximum(np.arange(n_frames - count, n_frames, dtype=np.int64), 0)


@dataclass(frozen=True)
class FpsTimes(Sequence[float]):
    """The times `start + k / fps`, k = 0 ... `total - 1`, in seconds, as a sequence of constant size.

    Example:
        >>> times = FpsTimes(start=1.0, fps=2.0, total=4)
        >>> list(times), times.index_from(1.7)
        ([1.0, 1.5, 2.0, 2.5], 2)
    """

    start: float
    fps: float
    total: int

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: Any) -> Any:
        selected = range(self.total)[index]
        if isinstance(selected, range):
            return [self.start + k / self.fps for k in selected]
        return self.start + selected / self.fps

    def index_from(self, time: float) -> int:
        """Return the index of the first time that is not before `time`; the length if there is none."""
        index = min(max(math.ceil((time - self.start) * self.fps), 0), self.total)
        while index > 0 and self.start + (index - 1) / self.fps >= time:
            index -= 1
        while index < self.total and self.start + index / self.fps < time:
            index += 1
        return index


def fps_times(duration: float, fps: float, start: float = 0.0) -> FpsTimes:
    """Return the times `start + k / fps` before `duration`, in seconds; k = 0, 1, 2, ...

    The times are computed on access, so memory is constant for any duration. There is at least one time, `start`,
    unless `start >= duration`.

    Raises:
        UsageError: `fps` is not positive, `start` is negative, or an argument is not finite.

    Example:
        >>> list(fps_times(2.0, fps=2.0))
        [0.0, 0.5, 1.0, 1.5]
    """
    if not (np.isfinite(fps) and fps > 0):
        raise UsageError(f"fps must be a positive number of frames per second, not {fps}")
    if not (np.isfinite(start) and start >= 0 and np.isfinite(duration)):
        raise UsageError(f"start and duration must be finite seconds, start not negative, not {start} and {duration}")
    most = max(0, math.ceil((duration - start) * fps) + 1)
    return FpsTimes(start, fps, FpsTimes(start, fps, most).index_from(duration - TOLERANCE))


def on_display(pts: npt.ArrayLike, times: npt.ArrayLike) -> Indices:
    """Return the index of the frame that a viewer sees at each time.

    This is the last frame with `pts <= time`, or the first frame if there is none.

    Args:
        pts: (n,) non-decreasing seconds, n > 0. Among equal times, the last frame stays on display.
        times: (N,) seconds in any order.

    Raises:
        UsageError: no frames.

    Example:
        >>> on_display([0.0, 1.0, 2.0], [0.5, 1.0, 9.0]).tolist()
        [0, 1, 2]
    """
    starts = np.asarray(pts, dtype=np.float64)
    if len(starts) == 0:
        raise UsageError("no frame to display: the list of frame times is empty")
    requested = np.asarray(times, dtype=np.float64)
    return np.maximum(np.searchsorted(starts, requested + TOLERANCE, side="right") - 1, 0).astype(np.int64)


RULES: dict[str, Callable[[Times, int], Indices]] = {
    "linspace": lambda pts, count: linspace(len(pts), count),
    "linspace_fps": linspace_fps,
    "segment_midpoint": lambda pts, count: segment_midpoint(len(pts), count),
    "head": lambda pts, count: head(len(pts), count),
    "tail": lambda pts, count: tail(len(pts), count),
}
"""Name -> `rule(pts, count)`: maps frame times (n,) and a count N to indices (N,)."""


def _check(n_frames: int, count: int) -> None:
    if count <= 0:
        raise UsageError(f"the number of frames to sample must be positive, not {count}")
    if n_frames <= 0:
        raise UsageError(f"a video needs at least one frame to sample from, not {n_frames}")
