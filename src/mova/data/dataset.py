"""Data set of (video, text) pairs from a manifest, and padding to batches.

Item i of an epoch depends only on (seed, epoch, i), not on workers or earlier accesses. An unreadable file gives a
`BrokenVideo` instead of a pair: it is counted and reported by the caller, never replaced by another video.

Shape legend: V pairs, T frames, H height, W width (pixels), d width of vectors. Times are seconds,
spans half-open `[start, end)`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, Sampler

from mova.data.columns.items import item_clip, items_of
from mova.data.columns.selection import open_rows, rows_fingerprint, split_names, split_rows
from mova.data.concat import concat_files
from mova.data.feature_store import Clip, FeatureStore
from mova.data.manifest import Row
from mova.data.row_texts import NEEDED, RowTexts, require_mode
from mova.data.shards.members import video_file
from mova.data.shards.order import TOGETHER, ShardNumbers, shard_numbers, shuffled
from mova.errors import DataError, UsageError, VideoError
from mova.text.sentences import split_sentences
from mova.types import Frames, FrameVectors, Pixels
from mova.video.reader import FrameRule

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pair:
    """A video, or a clip of one, and a text about it.

    Attributes:
        id: of the manifest's row.
        group: pairs of one group show the same video, so their texts are not negatives of each other.
        frames: sampled, at least one; or stored vectors in their place.
        text: the whole text.
        units: the parts of it that are scored separately (such as sentences), at least one.
        granularity: name of the length class of video and text (`data/granularity.py`); empty if batches are not by
            granularity.
        label: index of the class that the text names; -1 if it names none.
        classes: bool (Y,), true for the video's classes, if texts name classes.
    """

    id: str
    group: int
    frames: Frames | FrameVectors
    text: str
    units: tuple[str, ...]
    granularity: str = ""
    label: int = -1
    classes: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if not len(self.frames) or not self.text.strip() or not self.units:
            raise ValueError(f"pair {self.id!r} needs frames, a text and its units")


@dataclass(frozen=True)
class BrokenVideo:
    """A video that could not be read. It is delivered instead of its pair, and no other pair replaces it."""

    path: str
    cause: str


@dataclass(frozen=True, eq=False)
class Batch:
    """Pairs side by side, padded at the end of time.

    Attributes:
        frames: uint8, (V, T, H, W, 3), or vectors in floating point, (V, T, d); zeros where padded.
        frame_mask: bool, (V, T), true where a frame is real.
        texts, units: V texts and their units.
        groups: int64, (V,), see `Pair`.
        broken: videos of the batch that could not be read.
        granularities: V names, see `Pair`; empty if batches are not by granularity.
        labels, classes: int64 (V,) and bool (V, Y), see `Pair`; None if texts do not name classes.
    """

    frames: npt.NDArray[Any]
    frame_mask: npt.NDArray[np.bool_]
    texts: tuple[str, ...]
    units: tuple[tuple[str, ...], ...]
    groups: npt.NDArray[np.int64]
    broken: tuple[BrokenVideo, ...] = ()
    granularities: tuple[str, ...] = ()
    labels: npt.NDArray[np.int64] | None = None
    classes: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        count = len(self.texts)
        if self.frames.ndim not in (3, 5) or self.frame_mask.shape != self.frames.shape[:2]:
            raise ValueError(f"frames {self.frames.shape} and frame_mask {self.frame_mask.shape} do not agree")
        if not len(self.frames) == len(self.units) == len(self.groups) == count:
            raise ValueError(f"{len(self.frames)} videos, {count} texts, {len(self.units)} lists of units")
        if not self.frame_mask.any(axis=1).all():
            raise ValueError("a video of a batch needs at least one real frame")

    def __len__(self) -> int:
        return len(self.texts)


class Draw(NamedTuple):
    """An item of one epoch."""

    item: int
    epoch: int


class PairSampler(Sampler[Draw]):
    """Every item once per epoch, in an order that depends only on seed and epoch.

    Args:
        length: number of items.
        seed: seed of the order.
        shards, together: shard of each item, and how many shards are shuffled together, see `shuffled`.
    """

    def __init__(self, length: int, seed: int, shards: ShardNumbers | None = None, together: int = TOGETHER) -> None:
        self.length, self.seed, self.epoch = length, seed, 0
        self.shards, self.together = shards, together

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Draw]:
        order = shuffled(np.random.default_rng([self.seed, self.epoch]), self.length, self.shards, self.together)
        return (Draw(int(index), self.epoch) for index in order)

    def __len__(self) -> int:
        return self.length


class PairDataset(Dataset[Pair | BrokenVideo]):
    """Pairs of one split of a manifest.

    Args:
        manifest: path of a `manifest.jsonl`, or of its table (`.arrow`); video paths are relative to its folder.
        split: name of the split.
        sampling: selects the frames of a clip.
        captions: one of `CAPTIONS`.
        seed: seed of the draws.
        units: splits a text into units that are scored separately.
        quarantine: a quarantine list of `mova data check`; its rows are left out, and `left_out` has their ids.
        prepare: uint8 (T, H, W, 3) -> uint8 (T, h, w, 3), run in the worker that decodes, so that frames sent between
            processes are small and of one size. None keeps frames as they are.
        features: stored frame vectors to use instead of pixels; no video is opened.
        keep: predicate of rows to use. Default: all rows of the split.
        template: text of an option or a class, see `RowTexts`.

    Raises:
        DataError: the manifest cannot be read or has no items of this split and mode, or clips are not in `features`.
        UsageError: an unknown caption mode.
    """

    def __init__(
        self,
        manifest: str | Path,
        *,
        split: str,
        sampling: FrameRule,
        captions: str = "paragraph",
        seed: int = 0,
        units: Callable[[str], Sequence[str]] = split_sentences,
        prepare: Callable[[Pixels], Pixels] | None = None,
        features: FeatureStore | None = None,
        quarantine: str | Path | None = None,
        keep: Callable[[Row], bool] | None = None,
        template: str | None = None,
    ) -> None:
        require_mode(captions, template)
        rows, self.left_out = open_rows(manifest, quarantine)
        if self.left_out:
            logger.warning("%s: %d rows of %s are excluded", quarantine, len(self.left_out), manifest)
        self.folder = Path(manifest).resolve().parent
        self.rows = split_rows(rows, split, captions, keep)
        if features is not None and not isinstance(self.rows, list):
            self.rows = list(self.rows)
        if not self.rows:
            splits = ", ".join(split_names(rows, captions)) or "none"
            raise DataError(f"{manifest}: no row of split {split!r} has {NEEDED[captions]}; splits with them: {splits}")
        self.manifest, self.split = str(manifest), split
        self.sampling, self.captions, self.seed = sampling, captions, seed
        self.units, self.prepare, self.features = units, prepare, features
        self.texts = RowTexts(self.rows, captions, template)
        self._items = items_of(self.rows, captions)
        if not len(self._items):
            raise DataError(f"{manifest}: no sentence of split {split!r} has times; captions: clip needs them")
        if features is not None:
            if several := next((row for row in self.rows if row.parts), None):
                raise DataError(
                    f"{manifest}: row {several.id!r} has several segments, which a feature store does not support; "
                    "write its video as one file first (`mova data expand ... --materialize FOLDER`)"
                )
            features.expect({self.clip(index) for index in range(len(self))}, self.folder)

    def __len__(self) -> int:
        return len(self._items)

    def to_json(self) -> dict[str, Any]:
        """Return the data section of a run's report."""
        return {
            "manifest": self.manifest,
            "split": self.split,
            "captions": self.captions,
            "rows": len(self.rows),
            "pairs": len(self),
            "fingerprint": rows_fingerprint([self.rows]),
            "quarantined": len(self.left_out),
        }

    def __getitem__(self, key: int | Draw) -> Pair | BrokenVideo:
        """Return the pair, or the error of its video; an integer is an item of epoch 0."""
        index, epoch = key if isinstance(key, Draw) else (key, 0)
        place = self._items.place(index)
        row = self.rows[place.row]
        rng = np.random.default_rng([self.seed, epoch, index])
        text, label = self.texts.draw(row, place.caption, place.sentence, rng)
        try:
            frames = self._frames(row, item_clip(row, self.captions, place))
        except VideoError as error:
            return BrokenVideo(error.path, error.cause)
        except DataError as error:
            raise DataError(f"row {row.id!r}: {error}") from error
        try:
            units = tuple(self.units(text))
        except UsageError as error:
            raise DataError(f"row {row.id!r}: {error}") from error
        classes = self.texts.classes_of(row) if label >= 0 else None
        return Pair(row.id, self._items.group(index), frames, text, units, label=label, classes=classes)

    def shards(self) -> ShardNumbers | None:
        """Return the number of the tar file of each item, (n,); None if none is in one, or videos are not read."""
        numbers = None if self.features is not None else shard_numbers(self.rows)
        return None if numbers is None else numbers[self._items.rows()]

    def clip(self, index: int) -> Clip:
        """Return the clip of an item."""
        place = self._items.place(index)
        return item_clip(self.rows[place.row], self.captions, place)

    def _frames(self, row: Row, clip: Clip) -> Frames | FrameVectors:
        """Return the selected frames of a clip, or their vectors."""
        if self.features is not None:
            vectors = self.features.read(clip)
            return vectors[self.sampling.pick(len(vectors))]
        return read_clip(row, self.folder, clip, self.sampling, self.prepare)


def read_clip(
    row: Row, folder: Path, clip: Clip, sampling: FrameRule, prepare: Callable[[Pixels], Pixels] | None = None
) -> Frames:
    """Return the selected frames of a clip of a row, which may have several segments.

    Args:
        row: the row.
        folder: folder of its manifest.
        clip: span to read.
        sampling: selects the frames.
        prepare: run on the decoded pixels.

    Raises:
        VideoError: a file cannot be read.
        DataError: prepared frames of different files differ in size.
    """
    if row.parts:
        with concat_files(row.parts, folder) as concat:
            return (concat if clip.end is None else concat.window(clip.start, clip.end)).select(sampling, prepare)
    with video_file(folder / clip.video) as path:
        frames = sampling.read(path, clip.start, clip.end)
    return frames if prepare is None else Frames(prepare(frames.pixels), frames.pts)


def collate(items: Sequence[Pair | BrokenVideo]) -> Batch:
    """Collate pairs into a batch; pairs with broken videos are left out and listed in `broken`.

    Raises:
        DataError: no video of the batch can be read, or frames differ in height or width.
    """
    pairs = [item for item in items if isinstance(item, Pair)]
    broken = tuple(item for item in items if isinstance(item, BrokenVideo))
    frames, mask = pad_videos([pair.frames for pair in pairs], broken)
    groups = np.array([pair.group for pair in pairs], dtype=np.int64)
    texts, units = tuple(p.text for p in pairs), tuple(p.units for p in pairs)
    granularities = tuple(p.granularity for p in pairs if p.granularity)
    listed = [pair.classes for pair in pairs if pair.classes is not None]
    classes = np.stack(listed) if listed else None
    labels = np.array([pair.label for pair in pairs], dtype=np.int64) if listed else None
    return Batch(frames, mask, texts, units, groups, broken, granularities, labels, classes)


def pad_videos(
    videos: Sequence[Frames | FrameVectors], broken: Sequence[BrokenVideo]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Pad the videos of a batch to the same number of frames.

    Returns:
        Frames uint8 (V, T, H, W, 3), or vectors (V, T, d); and the mask bool (V, T), true for real frames.

    Raises:
        DataError: there are no videos (`broken` has the reasons), or frames differ in height or width.

    >>> videos = [FrameVectors(np.ones((n, 2), np.float32), np.arange(float(n)), float(n)) for n in (1, 3)]
    >>> frames, mask = pad_videos(videos, [])
    >>> frames.shape, mask.sum(axis=1).tolist()
    ((2, 3, 2), [1, 3])
    """
    if not videos:
        first = f"{broken[0].path}: {broken[0].cause}" if broken else "it is empty"
        raise DataError(
            f"none of the {len(broken)} videos of a batch can be read; the first: {first}. Check the paths in the "
            "manifest: `mova data check FOLDER` lists unreadable files"
        )
    parts: list[npt.NDArray[Any]] = [video.pixels if isinstance(video, Frames) else video.vectors for video in videos]
    sizes = {part.shape[1:] for part in parts}
    if len(sizes) > 1:
        listed = ", ".join(f"{height} x {width}" for height, width, _ in sorted(sizes))
        raise DataError(f"frames of one batch differ in size ({listed}); give the data set a 'prepare' that resizes")
    longest = max(map(len, parts))
    frames = np.zeros((len(parts), longest, *sizes.pop()), dtype=parts[0].dtype)
    mask = np.zeros((len(parts), longest), dtype=bool)
    for i, part in enumerate(parts):
        frames[i, : len(part)] = part
        mask[i, : len(part)] = True
    return frames, mask
