"""Windows of sampled frames: how many frames one vector sees, and the part of the video that it stands for.

A vector of a window `[start, end)` stands for a *cell*: the window without the outer halves of what it shares with the
windows before and after it. So cells follow one another like those of single frames, and everything that reads a
relevance curve (peaks, thresholds, joint alignment) works on them. Windows that do not overlap are their own cells.

Shape legend: W windows of one video, in order of time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError

_F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WindowRule:
    """How a video's sampled frames are cut into windows, one vector each. A picture encoder has windows of one frame.

    Attributes:
        frames: sampled frames per window.
        stride: sampled frames from the start of one window to the start of the next, at most `frames`.

    Raises:
        UsageError: the stride would leave frames out, or a number is below 1.

    >>> rule = WindowRule(frames=8, stride=4)
    >>> rule.seconds(2.0), rule.stride_seconds(2.0), rule.overlaps, WindowRule().is_picture
    (4.0, 2.0, True, True)
    """

    frames: int = 1
    stride: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.frames:
            raise UsageError(
                f"windows of {self.frames} frames need a stride from 1 to {self.frames} frames, not {self.stride}"
            )

    @property
    def is_picture(self) -> bool:
        """Whether a vector sees one frame."""
        return self.frames == 1

    @property
    def overlaps(self) -> bool:
        """Whether windows share frames."""
        return self.stride < self.frames

    def seconds(self, rate: float) -> float:
        """Return the length of a window of frames that are sampled `rate` times per second."""
        return self.frames / rate

    def stride_seconds(self, rate: float) -> float:
        """Return the seconds from the start of one window to the start of the next."""
        return self.stride / rate


def cell_starts(windows: _F64, end_before: float | None = None) -> _F64:
    """Return the start of the cell of each window, (W,) seconds.

    The cells of two windows that overlap meet in the middle of what they share. The cell of a window that follows none,
    or that begins after the end of the one before it, begins with it.

    Args:
        windows: (W, 2), start and end in seconds; starts do not decrease.
        end_before: end of the window before these, if any.

    >>> cell_starts(np.array([[0.0, 8.0], [4.0, 12.0], [20.0, 28.0]])).tolist()
    [0.0, 6.0, 20.0]
    """
    if not len(windows):
        return np.empty(0)
    before = np.concatenate([[windows[0, 0] if end_before is None else end_before], windows[:-1, 1]])
    return np.where(before > windows[:, 0], (windows[:, 0] + before) / 2, windows[:, 0])


def cell_seconds(starts: _F64, windows: _F64) -> float:
    """Return how long the cell of a window is at most where no frame is missing, seconds.

    This takes the place of the sampling step in `mova.scoring.spans.cell_ends`.

    Args:
        starts: (W,), of the cells.
        windows: (W, 2).

    >>> windows = np.array([[0.0, 8.0], [4.0, 12.0], [8.0, 16.0]])
    >>> cell_seconds(cell_starts(windows), windows)
    6.0
    """
    return float(np.median(windows[:, 1] - starts))


def ending_with(windows: _F64, duration: float) -> _F64:
    """Return windows (W, 2) of a video that reach no further than its end: its last frame may be shorter than a step.

    >>> ending_with(np.array([[0.0, 2.0], [1.0, 3.0]]), duration=2.6).tolist()
    [[0.0, 2.0], [1.0, 2.6]]
    """
    return np.minimum(windows, duration) if duration > windows[-1, 0] else windows


def uncovered(windows: _F64, duration: float, least: float) -> list[tuple[float, float]]:
    """Return the stretches of a video, at least `least` seconds long, that no window covers.

    Args:
        windows: (W, 2).
        duration: seconds of the video.
        least: seconds.

    >>> uncovered(np.array([[0.0, 8.0], [4.0, 12.0], [20.0, 28.0]]), duration=28.2, least=0.5)
    [(12.0, 20.0)]
    """
    ends = np.concatenate([[0.0], np.maximum.accumulate(windows[:, 1])])
    starts = np.concatenate([windows[:, 0], [duration]])
    return [(float(a), float(b)) for a, b in zip(ends, starts, strict=True) if b - a >= least]
