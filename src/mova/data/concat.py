"""Several stretches of files shown one after the other, read as one clip without copying anything.

The clock runs through: a frame that is shown at t seconds of its file, in a stretch that begins at `start` there and at
`offset` here, is shown at `offset + t - start`. The first frame of a stretch may have begun before it and is shown from
its beginning on. Only the frames that are asked for are decoded, stretch by stretch.

Shape legend: T frames, H height, W width (pixels). Times are seconds, spans half-open `[start, end)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mova.data.manifest import Part
from mova.errors import DataError, VideoError
from mova.types import Frames, Pixels
from mova.video.reader import clip_times, probe, read_times
from mova.video.sampling import TOLERANCE, Times, fps_times


@dataclass(frozen=True)
class Stretch:
    """`[start, end)` seconds of a file, shown from `offset` on."""

    path: Path
    start: float
    end: float
    offset: float

    @property
    def until(self) -> float:
        """The second at which it is over, by the montage's clock."""
        return self.offset + self.end - self.start


@dataclass(frozen=True)
class Montage:
    """A clip of at least one stretch, each beginning where the one before it is over."""

    stretches: tuple[Stretch, ...]

    @staticmethod
    def of(parts: Iterable[Part], folder: str | Path) -> Montage:
        """The montage of a row's parts; files are looked at only for ends that the manifest leaves open.

        Raises:
            VideoError: such a file cannot be read, or ends before its part begins.
        """
        stretches, offset = [], 0.0
        for part in parts:
            path, end = Path(folder) / part.video, part.end
            if end is None:
                end = _checked(path, part.start)
            stretches.append(Stretch(path, part.start, end, offset))
            offset = stretches[-1].until
        return Montage(tuple(stretches))

    @property
    def start(self) -> float:
        """First second."""
        return self.stretches[0].offset

    @property
    def end(self) -> float:
        """The second at which it is over."""
        return self.stretches[-1].until

    def within(self, start: float, end: float) -> Montage:
        """What is shown during `[start, end)`, by the same clock.

        Raises:
            DataError: nothing is.
        """
        kept = []
        for each in self.stretches:
            first, last = max(start, each.offset), min(end, each.until)
            if last - first > TOLERANCE:
                begin = each.start + first - each.offset
                kept.append(replace(each, start=begin, end=begin + last - first, offset=first))
        if not kept:
            raise DataError(f"nothing is shown during [{start}, {end}) s of a clip of [{self.start}, {self.end}) s")
        return Montage(tuple(kept))

    def times(self) -> Times:
        """When each frame begins to be shown, (T,) seconds, non-decreasing.

        Raises:
            VideoError: a file cannot be read, or ends before its stretch begins.
        """
        shown = []
        for each in self.stretches:
            pts = clip_times(each.path, each.start, each.end)
            shown.append(each.offset + np.maximum(pts, each.start) - each.start)
        return np.concatenate(shown)

    def read(self, times: npt.ArrayLike, prepare: Callable[[Pixels], Pixels] | None = None) -> Frames:
        """The frames on display at given times, decoded by one thread.

        Args:
            times: (T,) seconds, non-decreasing, T > 0, within the montage.
            prepare: uint8 (t, H, W, 3) -> uint8 (t, h, w, 3) of one size, for the frames of one file at a time.

        Raises:
            VideoError: a file cannot be read there.
            DataError: frames of different files differ in size.
        """
        asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
        pictures = [
            frames.pixels if prepare is None else prepare(frames.pixels) for frames in self._file_by_file(asked)
        ]
        _require_one_size(pictures, self.stretches)
        return Frames(np.concatenate(pictures), asked)

    def _file_by_file(self, asked: Times) -> Iterator[Frames]:
        """The frames on display at times (T,), those of a stretch together."""
        offsets = np.array([each.offset for each in self.stretches])
        which = np.maximum(np.searchsorted(offsets, asked + TOLERANCE, side="right") - 1, 0)
        for number in np.unique(which):
            each, mine = self.stretches[number], asked[which == number]
            length = _checked(each.path, each.start)
            inside = np.clip(each.start + mine - each.offset, each.start, min(each.end, length))
            yield Frames(read_times(each.path, inside, threads=1).pixels, mine)

    def stream(self, fps: float, chunk: int) -> Iterator[Frames]:
        """The frames at a rate, at most `chunk` at a time and of one size each, so that memory does not grow with it.

        Raises:
            VideoError: a file cannot be read there.
        """
        times = fps_times(self.end, fps, self.start)
        for first in range(0, len(times), chunk):
            asked = np.array([times[i] for i in range(first, min(first + chunk, len(times)))])
            for _, frames in groupby(self._file_by_file(asked), key=lambda frames: frames.pixels.shape[1:3]):
                yield Frames.concatenate(list(frames))


def _checked(path: Path, start: float) -> float:
    """Seconds that a file lasts, which must be more than `start`."""
    duration = probe(path).duration
    if start >= duration:
        raise VideoError(path, f"lasts {duration:.2f} s, so nothing is at {start:.2f} s; mend its times")
    return duration


def _require_one_size(pictures: Sequence[Pixels], stretches: Sequence[Stretch]) -> None:
    sizes = sorted({pixels.shape[1:3] for pixels in pictures})
    if len(sizes) > 1:
        shown = ", ".join(f"{height} x {width}" for height, width in sizes)
        files = ", ".join(sorted({each.path.name for each in stretches})[:3])
        raise DataError(f"frames of one clip of several files ({files}) differ in size ({shown}); resize them first")
