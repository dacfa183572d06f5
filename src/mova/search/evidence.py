"""Does an index show a text at all? The false-alarm rate of each answer, and the word for it.

Background sentences are compared with the frames of the index once, after it was written. Their best scores are kept in
`false_alarms.json` beside the tables (in the user's cache if these are remote), stamped with the model, the sentences,
and the stored videos, and measured again when one of these changed. The arithmetic is in `mova.scoring.false_alarm`.
Nothing here needs the model except for the vectors of the background sentences.

Shape legend: B background sentences, d width.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError
from mova.scoring.false_alarm import BAR, LEAST_SENTENCES, FalseAlarms, Maxima, evidence
from mova.search.cold.text_tower import TextTower
from mova.search.narrow.answer import Answer as Answer
from mova.search.storage.records import BATCH_FRAMES
from mova.types import Moment
from mova.utils.batching import batches
from mova.utils.numbers import is_number
from mova.utils.replacing import replacing

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.search.narrow.selection import Reader

logger = logging.getLogger(__name__)

NAME, LAYOUT = "false_alarms.json", 3
VECTORS = "false_alarms.safetensors"
"""Vectors of the background sentences, so that a part of the index can be measured without encoding them."""
MOST_FRAMES = 200_000
"""Frames that background sentences are compared with. A larger index is sampled, in whole videos, and the best scores
are extrapolated by how they grow with the number of frames."""
MOST_SELECTED_FRAMES = 50_000
"""The same for the videos that a filter leaves, which are measured during the search."""

Vectors = Callable[[], npt.NDArray[np.float32]]
"""Returns the unit vectors (B, d) of the background sentences; called only if they are needed."""


def require_bar(bar: float) -> None:
    """Raise if a number cannot be the highest false-alarm rate that counts as evidence.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if not is_number(bar) or not 0 < bar < 1:
        raise UsageError(f"the false-alarm rate must be between 0 and 1, such as {BAR}, not {bar!r}")


def judge(moments: Sequence[Moment], alarms: FalseAlarms | None, bar: float = BAR) -> list[Moment]:
    """Return moments with their false-alarm rates and words.

    Args:
        moments: with their cosines as scores, before they are scored again.
        alarms: of the index; None leaves the moments as they are.
        bar: highest rate that counts as evidence.
    """
    if alarms is None:
        return list(moments)
    judged = []
    for moment in moments:
        rate = alarms.rate(moment.score)
        judged.append(replace(moment, false_alarm=rate, evidence=evidence(rate, bar)))
    return judged


def background_of(encoder: DualEncoder | TextTower) -> tuple[Sequence[str], Vectors]:
    """Return the background sentences of an encoder, and a function that returns their vectors."""
    if isinstance(encoder, TextTower):
        tower = encoder
        return tower.unlikely, lambda: tower.text_vectors(tower.unlikely)
    from torch.nn import functional as F

    from mova.models.background_captions import encode_unlikely, unlikely_sentences

    model = encoder
    return unlikely_sentences(model), lambda: F.normalize(encode_unlikely(model).float(), dim=-1).cpu().numpy()


class Background:
    """The false-alarm statistics of one index, read or measured when they are needed.

    Args:
        reader: returns the index, or its snapshot.
    """

    def __init__(self, reader: Callable[[], Reader]) -> None:
        self._reader = reader
        self._kept: tuple[str, FalseAlarms] | None = None
        self._selected: tuple[str, FalseAlarms | None] | None = None
        self._stamped: tuple[object, Sequence[str], str] = ({}, (), "")

    def read(self, sentences: Sequence[str]) -> FalseAlarms | None:
        """Return the statistics for these background sentences if they are up to date; None if not."""
        reader = self._reader()
        return self._read(reader.kept, self._stamp(reader, sentences))

    def _read(self, folder: Path | None, stamp: str) -> FalseAlarms | None:
        if self._kept is None or self._kept[0] != stamp:
            stored = None if folder is None else _read(folder / NAME, stamp)
            self._kept = None if stored is None else (stamp, stored)
        return None if self._kept is None else self._kept[1]

    def measured(self, sentences: Sequence[str], vectors: Vectors) -> FalseAlarms | None:
        """Return the statistics; measure and keep them if they are not up to date.

        Args:
            sentences: the background.
            vectors: its vectors.

        Returns:
            None if there are too few sentences to support a rate, or no frames.
        """
        if len(sentences) < LEAST_SENTENCES:
            return None
        reader = self._reader()
        stamp = self._stamp(reader, sentences)
        current = self._read(reader.kept, stamp)
        if current is not None:
            return current
        alarms = _rounded(measure(reader, self._vectors(reader, sentences, vectors)))
        if alarms is None:
            return None
        self._kept = stamp, alarms
        if reader.kept is not None:
            _make_folder(reader)
            _write(reader.kept / NAME, stamp, alarms)
        return alarms

    def of_selection(self, selected: Reader, sentences: Sequence[str], vectors: Vectors) -> FalseAlarms | None:
        """Return the statistics of some videos of the index, as if it had no others.

        Best scores over fewer frames are lower, and the videos below one folder are no random sample of the index: they
        are measured, not extrapolated.

        Args:
            selected: the videos.
            sentences, vectors: as for `measured`.
        """
        if len(sentences) < LEAST_SENTENCES:
            return None
        reader = self._reader()
        if selected.count_frames() == reader.count_frames():
            return self.measured(sentences, vectors)
        stamp = self._hash(selected, sentences)
        if self._selected is None or self._selected[0] != stamp:
            known = self._vectors(reader, sentences, vectors)
            self._selected = stamp, _rounded(measure(selected, known, MOST_SELECTED_FRAMES))
        return self._selected[1]

    def _vectors(self, reader: Reader, sentences: Sequence[str], vectors: Vectors) -> npt.NDArray[np.float32]:
        """Return the vectors of the background sentences, from their file if it is that of the model; else write it."""
        if reader.kept is None:
            return vectors()
        stamp = _digest([LAYOUT, reader.meta.fingerprint, list(sentences)])
        stored = _read_vectors(reader.kept / VECTORS, stamp)
        if stored is None:
            stored = vectors()
            _make_folder(reader)
            _write_vectors(reader.kept / VECTORS, stamp, stored)
        return stored

    def _stamp(self, reader: Reader, sentences: Sequence[str]) -> str:
        """Return a hash of everything that the statistics depend on."""
        records = reader.records()  # the same object as long as the table is the same
        if self._stamped[0] is not records or self._stamped[1] != sentences:
            self._stamped = records, sentences, self._hash(reader, sentences)
        return self._stamped[2]

    @staticmethod
    def _hash(reader: Reader, sentences: Sequence[str]) -> str:
        videos = sorted({(record.content, record.frames) for record in reader.records().values()})
        meta = reader.meta
        return _digest([LAYOUT, meta.fingerprint, meta.frame_rate, list(sentences), videos])


def measure(store: Reader, vectors: npt.NDArray[np.float32], most: int | None = None) -> FalseAlarms | None:
    """Compare background sentences (B, d) with the frames of an index, at most about `most` (default: `MOST_FRAMES`).

    Returns:
        None if the index has no frames.
    """
    most = most or MOST_FRAMES
    videos = {record.content: record for record in store.records().values()}
    order = [videos[content] for content in sorted(videos)]  # contents are hashes: a random sample
    maxima, sampled, left = Maxima(len(vectors)), 0, sum(map(store.meta.frames_of, order))
    for batch in batches(order, store.meta.frames_of, BATCH_FRAMES):
        if sampled >= most:
            break
        stored = store.fetch([record.content for record in batch])
        left -= sum(map(store.meta.frames_of, batch))
        for record in batch:
            frames = stored.get(record.content)
            if frames is not None:
                maxima.add(vectors @ frames.vectors.T)
                sampled += len(frames.times)
    return maxima.finish(sampled + left) if sampled else None


def _rounded(measured: FalseAlarms | None) -> FalseAlarms | None:
    """Return statistics as every later process reads them."""
    return None if measured is None else FalseAlarms.from_json(measured.to_json())


def _make_folder(reader: Reader) -> None:
    """Make the folder in the user's cache for what is kept of a remote index."""
    if reader.folder is None and reader.kept is not None:
        with suppress(OSError):
            reader.kept.mkdir(mode=0o700, parents=True, exist_ok=True)


def _digest(document: object) -> str:
    return hashlib.blake2b(json.dumps(document).encode(), digest_size=16).hexdigest()


def _read(path: Path, stamp: str) -> FalseAlarms | None:
    """Return the statistics of a file if it has this stamp; a file that cannot be read is measured again."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return FalseAlarms.from_json(document["alarms"]) if document["stamp"] == stamp else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        logger.debug("%s: cannot be read (%s)", path, error)
        return None


def _write(path: Path, stamp: str, alarms: FalseAlarms) -> None:
    """Keep the statistics. Without the file they are measured by every process that searches."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"stamp": stamp, "alarms": alarms.to_json()}), encoding="utf-8")
    except OSError as error:
        logger.debug("%s: cannot be written (%s)", path, error)


def _read_vectors(path: Path, stamp: str) -> npt.NDArray[np.float32] | None:
    """Return vectors (B, d) if they have this stamp; a file that cannot be read is made again."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("stamp") != stamp:
                return None
            vectors: npt.NDArray[np.float32] = file.get_tensor("vectors")
        return vectors
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        logger.debug("%s: cannot be read (%s)", path, error)
        return None


def _write_vectors(path: Path, stamp: str, vectors: npt.NDArray[np.float32]) -> None:
    """Keep vectors. Without the file they are encoded by every process that searches with a filter."""
    from safetensors.numpy import save

    try:
        with replacing(path) as temporary:
            temporary.write_bytes(save({"vectors": np.ascontiguousarray(vectors, np.float32)}, {"stamp": stamp}))
    except OSError as error:
        logger.debug("%s: cannot be written (%s)", path, error)
