"""Cut a stream of sampled frames into windows, and encode each to one vector, in constant memory.

Shape legend: T frames, W windows, n frames per window, d width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.errors import UsageError
from mova.models.inputs.reading import EncodedPart, VideoReading
from mova.scoring.spans import LONGEST_CELL
from mova.scoring.windows.rule import WindowRule, cell_starts
from mova.types import Frames

WINDOW_BATCH = 8
"""Windows that are encoded at once."""

_F64 = npt.NDArray[np.float64]


class WindowReading(VideoReading, ABC):
    """The video side of an encoder whose vectors see several frames.

    A model sets `window`, and defines `prepare_frames` and `encode_windows`; it comes before `DualEncoder` among the
    bases of its class. Frames before and after missing ones are in no window together. A window that would reach beyond
    the last frame begins earlier instead. In a stretch with fewer frames than a window needs, frames are repeated.
    """

    @abstractmethod
    def prepare_frames(self, frames: Frames) -> Tensor:
        """Resize and crop frames: uint8 (T, h, w, 3); frames of one size get one size."""

    @abstractmethod
    def encode_windows(self, windows: Tensor, rate: float) -> Tensor:
        """Encode windows of prepared frames: uint8 (W, n, h, w, 3) -> float32 (W, d).

        Args:
            windows: frames of one size.
            rate: frames per second.
        """

    @torch.no_grad()
    def encode_frames(self, frames: Frames) -> Tensor:
        """Encode frames one by one if windows have one frame: (T, d), float32.

        Raises:
            UsageError: windows have more frames.
        """
        if not self.window.is_picture:
            raise UsageError(
                f"{self.name} encodes windows of {self.window.frames} frames, not single frames; use encode_video"
            )
        prepared = self.prepare_frames(frames)[:, None]
        return torch.cat([self.encode_windows(part, self.frame_rate) for part in prepared.split(WINDOW_BATCH)])

    @torch.no_grad()
    def encode_parts(
        self,
        chunks: Iterable[Frames],
        rate: float,
        encode: Callable[[Frames], Tensor] | None = None,
        window: WindowRule | None = None,
    ) -> Iterator[EncodedPart]:
        """Encode a video window by window.

        Args:
            chunks: consecutive parts of one video; empty ones are allowed.
            rate: frames per second of the chunks.
            encode: unused.
            window: in place of the model's own; the number of frames is the same.
        """
        prepared = ((chunk.pts, self.prepare_frames(chunk)) for chunk in chunks if len(chunk))
        end_before: float | None = None
        for windows, frames in cut_windows(prepared, window or self.window, rate):
            vectors = torch.cat([self.encode_windows(part, rate) for part in frames.split(WINDOW_BATCH)])
            yield EncodedPart(cell_starts(windows, end_before), vectors, windows)
            end_before = float(windows[-1, 1])


def cut_windows(parts: Iterable[tuple[_F64, Tensor]], rule: WindowRule, rate: float) -> Iterator[tuple[_F64, Tensor]]:
    """Cut consecutive frames into windows; at most a window and a part are kept in memory.

    Args:
        parts: times (T,) in seconds and frames (T, ...) of consecutive parts of one video, not empty.
        rule: frames per window, and stride.
        rate: frames per second: where more than 1.5 steps are missing, or the size of frames changes, a new run of
            windows begins.

    Yields:
        Start and end (W, 2) in seconds, and frames (W, n, ...). A window ends where the next frame begins; at the end
        of a run, one step after its last frame.

    >>> part = (np.arange(7.0), torch.arange(7))
    >>> for windows, frames in cut_windows([part], WindowRule(frames=4, stride=2), rate=1.0):
    ...     print(windows.tolist(), frames.tolist())
    [[0.0, 4.0], [2.0, 6.0]] [[0, 1, 2, 3], [2, 3, 4, 5]]
    [[3.0, 7.0]] [[3, 4, 5, 6]]
    """
    run: _Run | None = None
    for times, frames in parts:
        previous = times[0] if run is None else run.times[-1]
        breaks = np.flatnonzero(np.diff(times, prepend=previous) > LONGEST_CELL / rate).tolist()
        bounds = [0, *(k for k in breaks if k), len(times)]
        for first, last in pairwise(bounds):
            if run is None or first in breaks or not run.has_size_of(frames):
                if run is not None:
                    yield from run.take(final=True)
                run = _Run(rule, 1 / rate)
            run.extend(times[first:last], frames[first:last])
            yield from run.take(final=False)
    if run is not None:
        yield from run.take(final=True)


class _Run:
    """Consecutive frames, none missing, from which windows are cut."""

    def __init__(self, rule: WindowRule, step: float) -> None:
        self.rule, self.step = rule, step
        self.times: _F64 = np.empty(0)
        self._frames: Tensor | None = None
        self._next = 0  # first frame of the next window
        self._covered = 0  # frames up to here are in a window

    def has_size_of(self, frames: Tensor) -> bool:
        """Return whether frames (T, ...) can be stacked with those of the run."""
        return self._frames is None or self._frames.shape[1:] == frames.shape[1:]

    def extend(self, times: _F64, frames: Tensor) -> None:
        """Add frames."""
        self.times = np.concatenate([self.times, times])
        self._frames = frames if self._frames is None else torch.cat([self._frames, frames])

    def take(self, *, final: bool) -> Iterator[tuple[_F64, Tensor]]:
        """Yield the windows that are complete; at the end of the run, also one that covers its last frame.

        Without `final`, a window waits for the frame that ends it.
        """
        size, count = self.rule.frames, len(self.times)
        first = np.arange(self._next, count - size + (1 if final else 0), self.rule.stride)
        if len(first):
            self._covered, self._next = int(first[-1]) + size, int(first[-1]) + self.rule.stride
        if final and self._covered < count:
            first = np.append(first, max(0, count - size))
        if len(first):
            rows = first[:, None] + np.arange(size)
            if count < size:
                rows = (np.arange(size) * count // size)[None]
            assert self._frames is not None
            after = np.append(self.times[1:], self.times[-1] + self.step)
            yield np.stack([self.times[rows[:, 0]], after[rows[:, -1]]], axis=1), self._frames[torch.from_numpy(rows)]
        drop = max(0, min(self._next, count - size))
        self.times = self.times[drop:]
        self._frames = None if self._frames is None else self._frames[drop:]
        self._next, self._covered = self._next - drop, self._covered - drop
