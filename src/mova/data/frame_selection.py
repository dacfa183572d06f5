"""Choose the frames of a clip: a fixed number by a named rule, or a rate with an upper limit.

Shape legend: T frames, H height, W width (pixels). Times are seconds, spans half-open `[start, end)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mova.data.concat import VideoConcat
from mova.data.feature_store import Clip
from mova.data.manifest import Row
from mova.errors import UsageError, VideoError
from mova.types import Frames, Pixels
from mova.video.probe import probe
from mova.video.reader import read_count, read_times, stream
from mova.video.sampling import RULES, fps_times, linspace


@dataclass(frozen=True)
class FrameRule:
    """Rule that selects the frames of a clip.

    Attributes:
        frames: number of frames; an upper limit with `fps`.
        rule: a named rule of `video/sampling.py`, which always selects `frames` frames. None with `fps`.
        fps: frames per second, from the clip's start; if that gives more than `frames`, `linspace` selects among them
            (as CLIP4Clip does: short videos have fewer frames and are padded). None with `rule`.

    Raises:
        UsageError: neither or both of `rule` and `fps`, an unknown rule, or `frames` below 1.

    >>> FrameRule(3, fps=2.0).pick(5).tolist()
    [0, 2, 4]
    """

    frames: int = 64
    rule: str | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if (self.rule is None) == (self.fps is None):
            raise UsageError("frame sampling needs either a 'rule' or an 'fps', not both")
        if self.rule is not None and self.rule not in RULES:
            raise UsageError(f"unknown sampling rule {self.rule!r}; known: {', '.join(RULES)}")
        if not isinstance(self.frames, int) or self.frames <= 0:
            raise UsageError(f"the number of frames to sample must be a positive integer, not {self.frames}")
        if self.fps is not None:
            fps_times(0.0, self.fps)

    def read(self, path: str | Path, start: float = 0.0, end: float | None = None) -> Frames:
        """Return the selected frames of `[start, end)` seconds, decoded by one thread (workers run in parallel).

        Raises:
            VideoError: the file cannot be read, or ends before `start`.
        """
        if self.rule is not None:
            return read_count(path, self.frames, rule=self.rule, start=start, end=end, threads=1)
        assert self.fps is not None
        duration = probe(path).duration
        times = fps_times(duration if end is None else min(end, duration), self.fps, start)
        if not len(times):
            raise VideoError(
                path, f"is only {duration:.2f} s long, so there is no frame at {start:.2f} s; fix the start"
            )
        return read_times(path, [times[int(i)] for i in self.pick(len(times))], threads=1)

    def pick(self, count: int) -> npt.NDArray[np.int64]:
        """Return the indices to keep of a clip's `count` sampled frames: all, or `linspace` if `fps` gives too many."""
        return linspace(count, self.frames) if self.fps is not None and count > self.frames else np.arange(count)

    def every(self, path: str | Path, start: float, end: float | None, chunk: int) -> Iterator[Frames]:
        """Yield the frames that `pick` selects from: at most `chunk` at a time with `fps`, all at once with a rule.

        Raises:
            VideoError: the file cannot be read; frames decoded before are yielded first.
        """
        if self.fps is None:
            yield self.read(path, start, end)
        else:
            yield from stream(path, fps=self.fps, start=start, end=end, chunk=chunk)

    def read_row(self, row: Row, folder: Path, clip: Clip, prepare: Callable[[Pixels], Pixels] | None = None) -> Frames:
        """Return the selected frames of a clip of a row, which may have several segments.

        Args:
            row: the row.
            folder: folder of its manifest.
            clip: span to read.
            prepare: run on the decoded pixels.

        Raises:
            VideoError: a file cannot be read.
            DataError: prepared frames of different files differ in size.
        """
        if row.parts:
            concat = VideoConcat.of(row.parts, folder)
            return self.read_concat(concat if clip.end is None else concat.window(clip.start, clip.end), prepare)
        frames = self.read(folder / clip.video, clip.start, clip.end)
        return frames if prepare is None else Frames(prepare(frames.pixels), frames.pts)

    def read_concat(self, concat: VideoConcat, prepare: Callable[[Pixels], Pixels] | None = None) -> Frames:
        """Return the selected frames of a concatenation; times are on its clock.

        Args:
            concat: the concatenated segments.
            prepare: run on the frames of each segment; must resize them to one size if the files differ.

        Raises:
            VideoError: a file cannot be read.
            DataError: prepared frames differ in size.
        """
        if self.rule is not None:
            times = concat.times()
            return concat.read(times[RULES[self.rule](times, self.frames)], prepare)
        assert self.fps is not None
        sampled = fps_times(concat.end, self.fps, concat.start)
        return concat.read([sampled[int(i)] for i in self.pick(len(sampled))], prepare)
