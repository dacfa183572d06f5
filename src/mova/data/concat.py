"""Read several segments of files as one concatenated video, without writing a file.

The concatenation has one clock: a frame at t seconds of its file, in a segment that begins at `start` in the file and
at `offset` in the concatenation, is at `offset + t - start`. If the first frame of a segment began earlier, it is on
display from the segment's start. Only requested frames are decoded, one segment at a time.

Shape legend: T frames, H height, W width (pixels). Times are seconds, spans half-open `[start, end)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mova.data.manifest import Segment
from mova.data.shards.members import video_file
from mova.errors import DataError, VideoError
from mova.types import Frames, Pixels
from mova.video.display import CHECK
from mova.video.isolated import Isolated
from mova.video.probe import probe
from mova.video.reader import FrameRule, clip_times, read_times
from mova.video.sampling import RULES, TOLERANCE, Times, fps_times


@dataclass(frozen=True)
class ConcatSegment:
    """The span `[start, end)` of a file, placed at `offset` in a concatenation; all in seconds.

    >>> ConcatSegment(Path("film.mp4"), start=2.0, end=5.0, offset=10.0).until
    13.0
    """

    path: Path
    start: float
    end: float
    offset: float

    @property
    def until(self) -> float:
        """End of the segment on the concatenation's clock, seconds."""
        return self.offset + self.end - self.start


@dataclass(frozen=True)
class VideoConcat:
    """A video of one or more segments, each beginning where the previous one ends.

    Attributes:
        segments: the segments in order.

    >>> joined = VideoConcat.of([Segment("film.mp4", 0.0, 2.0), Segment("film.mp4", 8.0, 9.0)], folder=".")
    >>> joined.start, joined.end, len(joined.times())
    (0.0, 3.0, 24)
    >>> joined.read([0.0, 2.5]).pixels.shape
    (2, 64, 64, 3)
    >>> [frames.pts.tolist() for frames in joined.window(1.0, 3.0).stream(fps=2.0, chunk=8)]
    [[1.0, 1.5, 2.0, 2.5]]
    >>> len(joined.select(FrameRule(4, rule="head")))
    4
    """

    segments: tuple[ConcatSegment, ...]

    @staticmethod
    def of(parts: Iterable[Segment], folder: str | Path) -> VideoConcat:
        """Concatenate the segments of a row; a file is opened only if its segment has no end.

        Args:
            parts: segments of files, as in `Row.segments`.
            folder: folder that their paths are relative to.

        Raises:
            VideoError: such a file cannot be read, or ends before its segment begins.
        """
        segments, offset = [], 0.0
        for part in parts:
            path, end = Path(folder) / part.video, part.end
            if end is None:
                end = _checked_duration(path, part.start)
            segments.append(ConcatSegment(path, part.start, end, offset))
            offset = segments[-1].until
        return VideoConcat(tuple(segments))

    @property
    def start(self) -> float:
        """Start on the concatenation's clock, seconds: 0, unless it is a window."""
        return self.segments[0].offset

    @property
    def end(self) -> float:
        """End on the concatenation's clock, seconds."""
        return self.segments[-1].until

    def window(self, start: float, end: float) -> VideoConcat:
        """Return the part during `[start, end)` seconds, on the same clock.

        Raises:
            DataError: the window does not overlap the concatenation.
        """
        kept = []
        for segment in self.segments:
            first, last = max(start, segment.offset), min(end, segment.until)
            if last - first > TOLERANCE:
                begin = segment.start + first - segment.offset
                kept.append(replace(segment, start=begin, end=begin + last - first, offset=first))
        if not kept:
            raise DataError(f"the window [{start}, {end}) s does not overlap the clip [{self.start}, {self.end}) s")
        return VideoConcat(tuple(kept))

    def times(self) -> Times:
        """Return the time at which each frame goes on display, (T,) seconds, non-decreasing.

        Raises:
            VideoError: a file cannot be read, or ends before its segment begins.
        """
        times = []
        for segment in self.segments:
            pts = clip_times(segment.path, segment.start, segment.end)
            times.append(segment.offset + np.maximum(pts, segment.start) - segment.start)
        return np.concatenate(times)

    def read(self, times: npt.ArrayLike, prepare: Callable[[Pixels], Pixels] | None = None) -> Frames:
        """Return the frames on display at the given times, decoded by one thread.

        Args:
            times: (T,) seconds on the concatenation's clock, non-decreasing, T > 0.
            prepare: uint8 (t, H, W, 3) -> uint8 (t, h, w, 3), run on the frames of each segment; resizes them to one
                size if the files differ.

        Raises:
            VideoError: a file cannot be read at these times.
            DataError: frames of different files differ in size.
        """
        return self._joined(self._by_segment(np.atleast_1d(np.asarray(times, dtype=np.float64))), prepare)

    def _joined(self, parts: Iterable[Frames], prepare: Callable[[Pixels], Pixels] | None) -> Frames:
        """Concatenate frames after `prepare`, which is run on those of each segment."""
        arrays, times = [], []
        for frames in parts:
            arrays.append(frames.pixels if prepare is None else prepare(frames.pixels))
            times.append(frames.pts)
        if not arrays:
            raise VideoError(self.segments[0].path, f"shows no picture in its segments: they are missing; {CHECK}")
        _require_one_size(arrays, self.segments)
        return Frames(np.concatenate(arrays), np.concatenate(times))

    def select(self, rule: FrameRule, prepare: Callable[[Pixels], Pixels] | None = None) -> Frames:
        """Return the frames that a rule selects; times are on the concatenation's clock.

        At a rate, times at which pictures are missing have no frame.

        Args:
            rule: selects the frames.
            prepare: run on the frames of each segment; must resize them to one size if the files differ.

        Raises:
            VideoError: a file cannot be read, or there is no picture at all.
            DataError: prepared frames differ in size.
        """
        if rule.rule is not None:
            times = self.times()
            return self.read(times[RULES[rule.rule](times, rule.frames)], prepare)
        assert rule.fps is not None
        sampled = fps_times(self.end, rule.fps, self.start)
        times = np.array([sampled[int(i)] for i in rule.pick(len(sampled))])
        return self._joined(self._by_segment(times, skip_gaps=True), prepare)

    def _by_segment(
        self, times: Times, *, skip_gaps: bool = False, decoder: Isolated | None = None
    ) -> Iterator[Frames]:
        """Yield the frames on display at times (T,), segment by segment; `skip_gaps` as in `read_times`."""
        read = read_times if decoder is None else decoder.read_times
        offsets = np.array([segment.offset for segment in self.segments])
        indices = np.maximum(np.searchsorted(offsets, times + TOLERANCE, side="right") - 1, 0)
        for index in np.unique(indices):
            segment, segment_times = self.segments[index], times[indices == index]
            duration = _checked_duration(segment.path, segment.start, decoder)
            file_times = segment.start + segment_times - segment.offset
            inside = np.clip(file_times, segment.start, min(segment.end, duration))
            frames = read(segment.path, inside, threads=1, skip_gaps=skip_gaps)
            if len(frames):
                yield Frames(frames.pixels, segment_times[np.searchsorted(inside, frames.pts)])

    def stream(self, fps: float, chunk: int, decoder: Isolated | None = None) -> Iterator[Frames]:
        """Yield frames sampled at a constant rate, in bounded memory. Times at which pictures are missing are left out.

        Args:
            fps: frames per second.
            chunk: largest number of frames per yield; the frames of one yield have the same size.
            decoder: decodes in child processes; None: directly.

        Raises:
            VideoError: a file cannot be read.
        """
        sampled = fps_times(self.end, fps, self.start)
        for first in range(0, len(sampled), chunk):
            times = np.array([sampled[i] for i in range(first, min(first + chunk, len(sampled)))])
            parts = self._by_segment(times, skip_gaps=True, decoder=decoder)
            for _, frames in groupby(parts, key=lambda frames: frames.pixels.shape[1:3]):
                yield Frames.concatenate(list(frames))


@contextmanager
def concat_files(parts: Sequence[Segment], folder: str | Path) -> Iterator[VideoConcat]:
    """Yield `VideoConcat.of(parts, folder)`; a file that is a member of a shard exists as a temporary one meanwhile.

    Raises:
        VideoError: as `VideoConcat.of` and its methods, with the path in the shard; or a member cannot be read.

    >>> with concat_files([Segment("film.mp4", 0.0, 2.0)], ".") as joined:
    ...     joined.end
    2.0
    """
    with ExitStack() as files:
        local = {part.video: files.enter_context(video_file(Path(folder) / part.video)) for part in parts}
        names = {str(path): Path(folder) / video for video, path in local.items()}
        try:
            yield VideoConcat.of([replace(part, video=str(local[part.video])) for part in parts], folder)
        except VideoError as error:
            raise type(error)(names.get(error.path, error.path), error.cause) from error


def _checked_duration(path: Path, start: float, decoder: Isolated | None = None) -> float:
    """Return the duration of a file in seconds, which must exceed `start`."""
    duration = (probe if decoder is None else decoder.probe)(path).duration
    if start >= duration:
        raise VideoError(path, f"is only {duration:.2f} s long, so there is no frame at {start:.2f} s; fix the start")
    return duration


def _require_one_size(arrays: Sequence[Pixels], segments: Sequence[ConcatSegment]) -> None:
    sizes = sorted({pixels.shape[1:3] for pixels in arrays})
    if len(sizes) > 1:
        listed = ", ".join(f"{height} x {width}" for height, width in sizes)
        files = ", ".join(sorted({segment.path.name for segment in segments})[:3])
        raise DataError(f"the files of one row ({files}) have frames of different sizes ({listed}); resize them first")
