"""Manifest rows -> pairs of video and text, and pairs -> batches.

What item i of an epoch is depends on (seed, epoch, i) alone, not on workers or on what was asked before. A file that
cannot be read is a `BrokenVideo` in its place: counted and reported further up, never replaced by another one.

Shape legend: V pairs, T frames, H height, W width (pixels). Times are seconds, spans half-open `[start, end)`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset, Sampler

from mova.data.batch import Batch, BrokenVideo, Pair
from mova.data.feature_store import Clip, FeatureStore
from mova.data.frame_selection import FrameRule
from mova.data.manifest import Caption, Row, fingerprint, read_manifest
from mova.data.quarantine import without_quarantined
from mova.errors import DataError, UsageError, VideoError
from mova.text.sentences import split_sentences
from mova.types import Frames, FrameVectors, Pixels

logger = logging.getLogger(__name__)

CAPTIONS = {
    "paragraph": "an item a row: one of its captions of several sentences, drawn anew each epoch (any, if none has)",
    "first": "an item a row: its first caption, such as VideoUFO's detailed one",
    "caption": "an item for every caption of a row, such as the forty of an MSVD video",
    "sentence": "an item a row: one sentence of its captions, drawn anew each epoch, against the whole clip",
    "clip": "an item for every sentence whose times are known, against the frames of those times",
}
"""What a pair's text may be."""


class Draw(NamedTuple):
    """An item of one epoch."""

    item: int
    epoch: int


class PairSampler(Sampler[Draw]):
    """All items once an epoch, in an order that depends on seed and epoch alone."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Draw]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        return (Draw(int(index), self.epoch) for index in order)

    def __len__(self) -> int:
        return self.length


class PairDataset(Dataset[Pair | BrokenVideo]):
    """Pairs of one split of a manifest.

    Args:
        manifest: path of a `manifest.jsonl`; videos are found beside it.
        split: name of the part.
        sampling: which frames of a clip are seen.
        captions: one of `CAPTIONS`.
        seed: of the draws.
        units: cuts a text into what is scored apart.
        quarantine: a list of `mova data check`; rows that it names are left out, and `left_out` has their ids.
        prepare: uint8 (T, H, W, 3) -> uint8 (T, h, w, 3), run where frames are decoded, so that what travels between
            processes is small and of one size. None leaves frames as they are.
        features: stored frame vectors, which stand for pixels: no video is opened.
        keep: which rows of the split are wanted; all, if left out.

    Raises:
        DataError: the manifest cannot be read, or holds nothing of that split and mode; or clips are not stored.
        UsageError: an unknown mode.
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
    ) -> None:
        if captions not in CAPTIONS:
            known = "; ".join(f"{name} ({meaning})" for name, meaning in CAPTIONS.items())
            raise UsageError(f"captions: {captions!r} is not known; there are {known}")
        rows, self.left_out = without_quarantined(read_manifest(manifest), quarantine)
        if self.left_out:
            logger.warning("%s: %d rows of %s are left out", quarantine, len(self.left_out), manifest)
        self.folder = Path(manifest).resolve().parent
        self.rows = [row for row in rows if row.split == split and row.captions and (keep is None or keep(row))]
        if not self.rows:
            splits = ", ".join(sorted({row.split for row in rows if row.captions})) or "none"
            raise DataError(f"{manifest}: no row of split {split!r} has a caption; splits with captions: {splits}")
        self.manifest, self.split = str(manifest), split
        self.sampling, self.captions, self.seed = sampling, captions, seed
        self.units, self.prepare, self.features = units, prepare, features
        self._items = list(_items(self.rows, captions))
        if not self._items:
            raise DataError(f"{manifest}: no sentence of split {split!r} has times, which captions: clip needs")
        seen: dict[tuple[int, Clip], int] = {}
        self._groups = [seen.setdefault((item[0], self.clip(*item)), len(seen)) for item in self._items]
        if features is not None:
            if several := next((row for row in self.rows if row.parts), None):
                raise DataError(
                    f"{manifest}: row {several.id!r} is made of several clips, which a feature store does not hold; "
                    "write them as files first (`mova data expand ... --materialize FOLDER`)"
                )
            features.expect({clip for _, clip in seen}, self.folder)

    def __len__(self) -> int:
        return len(self._items)

    def to_json(self) -> dict[str, Any]:
        """What a run's report says of its data."""
        return {
            "manifest": self.manifest,
            "split": self.split,
            "captions": self.captions,
            "rows": len(self.rows),
            "pairs": len(self),
            "fingerprint": fingerprint(self.rows),
            "quarantined": len(self.left_out),
        }

    def __getitem__(self, key: int | Draw) -> Pair | BrokenVideo:
        """The pair, or what is wrong with its video; a plain number is an item of epoch 0."""
        index, epoch = key if isinstance(key, Draw) else (key, 0)
        number, caption, sentence = self._items[index]
        row = self.rows[number]
        rng = np.random.default_rng([self.seed, epoch, index])
        if self.captions == "clip":
            text = row.captions[caption].sentences[sentence].text
        elif self.captions in ("caption", "first"):
            text = row.captions[caption].text
        else:
            text = _draw_paragraph(row, rng) if self.captions == "paragraph" else _draw_sentence(row, rng)
        try:
            frames = self._frames(row, self.clip(number, caption, sentence))
        except VideoError as error:
            return BrokenVideo(error.path, error.cause)
        except DataError as error:
            raise DataError(f"row {row.id!r}: {error}") from error
        try:
            units = tuple(self.units(text))
        except UsageError as error:
            raise DataError(f"row {row.id!r}: {error}") from error
        return Pair(row.id, self._groups[index], frames, text, units)

    def clip(self, number: int, caption: int, sentence: int) -> Clip:
        """What an item shows."""
        row = self.rows[number]
        if self.captions != "clip":
            return row_clip(row)
        told = row.captions[caption].sentences[sentence]
        assert told.start is not None
        return Clip(row.video, told.start, told.end)

    def _frames(self, row: Row, clip: Clip) -> Frames | FrameVectors:
        """The frames of a clip that are seen, or their vectors."""
        if self.features is not None:
            found = self.features.read(clip)
            return found[self.sampling.pick(len(found))]
        return self.sampling.read_row(row, self.folder, clip, self.prepare)


def row_clip(row: Row) -> Clip:
    """What a row of a manifest shows."""
    return Clip(row.video, row.start or 0.0, row.end)


def collate(items: Sequence[Pair | BrokenVideo]) -> Batch:
    """Pairs side by side; those whose videos are broken are left out and listed.

    Raises:
        DataError: no video of the batch can be read, or frames differ in height or width.
    """
    pairs = [item for item in items if isinstance(item, Pair)]
    broken = tuple(item for item in items if isinstance(item, BrokenVideo))
    frames, mask = side_by_side([pair.frames for pair in pairs], broken)
    groups = np.array([pair.group for pair in pairs], dtype=np.int64)
    texts, units = tuple(p.text for p in pairs), tuple(p.units for p in pairs)
    granularities = tuple(p.granularity for p in pairs if p.granularity)
    return Batch(frames, mask, texts, units, groups, broken, granularities)


def side_by_side(
    videos: Sequence[Frames | FrameVectors], broken: Sequence[BrokenVideo]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Videos of a batch padded at the end of time, and bool (V, T), true where a frame is real.

    Returns:
        uint8 (V, T, H, W, 3), or vectors (V, T, d); and the mask.

    Raises:
        DataError: there is no video (then `broken` says why), or frames differ in height or width.
    """
    if not videos:
        first = f"{broken[0].path}: {broken[0].cause}" if broken else "it is empty"
        raise DataError(
            f"none of the {len(broken)} videos of a batch can be read; the first: {first}. Are the files where the "
            "manifest says? `mova data check FOLDER` lists what cannot be read"
        )
    parts: list[npt.NDArray[Any]] = [video.pixels if isinstance(video, Frames) else video.vectors for video in videos]
    sizes = {part.shape[1:] for part in parts}
    if len(sizes) > 1:
        shown = ", ".join(f"{height} x {width}" for height, width, _ in sorted(sizes))
        raise DataError(f"frames of one batch differ in size ({shown}); give the data set a 'prepare' that resizes")
    longest = max(map(len, parts))
    frames = np.zeros((len(parts), longest, *sizes.pop()), dtype=parts[0].dtype)
    mask = np.zeros((len(parts), longest), dtype=bool)
    for i, part in enumerate(parts):
        frames[i, : len(part)] = part
        mask[i, : len(part)] = True
    return frames, mask


def _items(rows: Sequence[Row], captions: str) -> Iterator[tuple[int, int, int]]:
    """(row, caption, sentence) of every item; what a mode draws later is 0."""
    for r, row in enumerate(rows):
        if captions == "caption":
            yield from ((r, c, 0) for c in range(len(row.captions)))
        elif captions == "clip":
            for c, caption in enumerate(row.captions):
                yield from ((r, c, s) for s, told in enumerate(caption.sentences) if told.start is not None)
        else:
            yield r, 0, 0


def _draw_paragraph(row: Row, rng: np.random.Generator) -> str:
    """The text of one caption of several sentences; of any caption where none has."""
    told: Sequence[Caption] = [caption for caption in row.captions if len(caption.sentences) > 1] or row.captions
    return told[int(rng.integers(len(told)))].text


def _draw_sentence(row: Row, rng: np.random.Generator) -> str:
    """One sentence of the row; captions that list none are cut by rules."""
    texts = [
        text
        for caption in row.captions
        for text in ([told.text for told in caption.sentences] or split_sentences(caption.text))
    ]
    return texts[int(rng.integers(len(texts)))]
