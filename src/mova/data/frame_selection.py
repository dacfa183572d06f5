"""Choose the frames of a clip: a fixed number by a named rule, or a rate with an upper limit.

Shape legend: T frames, H height, W width (pixels). Times are seconds, spans half-open `[start, end)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mova.data.concat import Montage
from mova.data.feature_store import Clip
from mova.data.manifest import Row
from mova.errors import UsageError, VideoError
from mova.types import Frames, Pixels
from mova.video.reader import probe, read_count, read_times, stream
from mova.video.sampling import RULES, fps_times, linspace


@dataclass(frozen=True)
class FrameRule:
    """Which frames of a clip are seen.

    Attributes:
        frames: how many; at most so many with `fps`.
        rule: a named rule of `video/sampling.py`, which always gives `frames` of them. None with `fps`.
        fps: frames a second, from the clip's start on; where that is more than `frames`, `linspace` over them
            (CLIP4Clip's way: short videos have fewer frames and are padded). None with `rule`.
    """

    frames: int = 64
    rule: str | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if (self.rule is None) == (self.fps is None):
            raise UsageError("say how frames are chosen: either a 'rule' or an 'fps', not both")
        if self.rule is not None and self.rule not in RULES:
            raise UsageError(f"unknown sampling rule {self.rule!r}; known: {', '.join(RULES)}")
        if not isinstance(self.frames, int) or self.frames <= 0:
            raise UsageError(f"the number of frames to sample must be a positive whole number, not {self.frames}")
        if self.fps is not None:
            fps_times(0.0, self.fps)

    def read(self, path: str | Path, start: float = 0.0, end: float | None = None) -> Frames:
        """The frames of `[start, end)`, decoded by one thread (workers run side by side).

        Raises:
            VideoError: the file cannot be read there.
        """
        if self.rule is not None:
            return read_count(path, self.frames, rule=self.rule, start=start, end=end, threads=1)
        assert self.fps is not None
        duration = probe(path).duration
        times = fps_times(duration if end is None else min(end, duration), self.fps, start)
        if not len(times):
            raise VideoError(path, f"lasts {duration:.2f} s, so nothing is at {start:.2f} s; mend its times")
        return read_times(path, [times[int(i)] for i in self.pick(len(times))], threads=1)

    def pick(self, count: int) -> npt.NDArray[np.int64]:
        """Which of the `count` frames that a clip has at this rule are seen: all, or `linspace` where they are more."""
        return linspace(count, self.frames) if self.fps is not None and count > self.frames else np.arange(count)

    def every(self, path: str | Path, start: float, end: float | None, chunk: int) -> Iterator[Frames]:
        """The frames that `pick` chooses from, at most `chunk` at a time at a rate; all at once by a named rule.

        Raises:
            VideoError: once, after whatever was yielded.
        """
        if self.fps is None:
            yield self.read(path, start, end)
        else:
            yield from stream(path, fps=self.fps, start=start, end=end, chunk=chunk)

    def read_row(self, row: Row, folder: Path, clip: Clip, prepare: Callable[[Pixels], Pixels] | None = None) -> Frames:
        """The frames of a clip of a row, of one file or of several parts, prepared.

        Raises:
            VideoError: a file cannot be read there.
            DataError: prepared frames of parts differ in size.
        """
        if row.parts:
            montage = Montage.of(row.parts, folder)
            return self.read_montage(montage if clip.end is None else montage.within(clip.start, clip.end), prepare)
        frames = self.read(folder / clip.video, clip.start, clip.end)
        return frames if prepare is None else Frames(prepare(frames.pixels), frames.pts)

    def read_montage(self, montage: Montage, prepare: Callable[[Pixels], Pixels] | None = None) -> Frames:
        """The frames of several stretches shown one after the other; times are by the montage's clock.

        Args:
            montage: what is shown.
            prepare: run on the frames of each file, which may differ in size from the next file's.

        Raises:
            VideoError: a file cannot be read there.
            DataError: prepared frames differ in size.
        """
        if self.rule is not None:
            times = montage.times()
            return montage.read(times[RULES[self.rule](times, self.frames)], prepare)
        assert self.fps is not None
        sampled = fps_times(montage.end, self.fps, montage.start)
        return montage.read([sampled[int(i)] for i in self.pick(len(sampled))], prepare)
