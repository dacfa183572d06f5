"""FiftyOne: temporal detections of videos (`fiftyone.types.FiftyOneTemporalDetectionDataset`), without that package.

A data set is a folder with `labels.json`, and the videos in `data/`, or their paths in `data.json`:

    {"classes": null, "labels": {NAME: [{"label": TEXT, "timestamps": [START, END], "attributes": {...}}, ...]}}

Times are seconds; FiftyOne itself writes `support` instead, the numbers of the first and last frame, from 1. A sentence
is the label of its detection, so `classes` (which labels would index) is null. Attributes keep what a manifest has and
FiftyOne has not, so that a manifest survives both ways.

    fiftyone.Dataset.from_dir("FOLDER", dataset_type=fiftyone.types.FiftyOneTemporalDetectionDataset)
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mova.data.manifest import Caption, Row, TimedSentence
from mova.data.readers.annotations import AnnotationSource, Collector, to_list, to_number, to_text, with_location
from mova.errors import DataError
from mova.utils.files import find_videos
from mova.utils.replacing import replacing
from mova.utils.tables import read_json
from mova.video.probe import probe

LABELS, MEDIA = "labels.json", "data.json"


@dataclass(frozen=True)
class Exported:
    """What `write_fiftyone` wrote.

    Attributes:
        folder: of the data set.
        videos: rows.
        detections: sentences with times, and captions of clips or videos of known length.
        untimed: texts without times, which FiftyOne's format cannot hold.
        parts: rows of several segments, likewise.

    >>> Exported(Path("set"), videos=2, detections=5, untimed=0, parts=0).detections
    5
    """

    folder: Path
    videos: int
    detections: int
    untimed: int
    parts: int


def fiftyone(source: AnnotationSource, rows: Collector) -> None:
    """A folder of FiftyOne's temporal detections: `labels.json`, and videos in `data/` or listed in `data.json`.

    The labels of a video, in order of time, are the sentences of its caption. Detections that mova exported become the
    rows, captions and sentences that they were made from. Frame numbers (`support`) become seconds by the average rate
    of the file, which is noted.
    """
    path = source.require(LABELS)
    document = read_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("labels"), dict):
        raise DataError(f"{path}: an object with 'labels' expected; export with FiftyOneTemporalDetectionDataset")
    media = _media(path.parent)
    for name, entries in document["labels"].items():
        where = f"{path}, {name!r}"
        video = media.get(name, name)
        detections = list(_detections(where, entries, document.get("classes"), video, source))
        known = detections[0][3] if detections else {}
        split = str(known.get("split", "train"))
        if not source.includes(split):
            continue
        clip = (known["clip_start"], known["clip_end"]) if "clip_start" in known else None
        captions = list(_captions(where, detections))
        duration = known.get("duration")
        rows.add(where, id=name, split=split, captions=captions, video=video, clip=clip, duration=duration)


def write_fiftyone(rows: Sequence[Row], folder: str | Path, *, base: str | Path = ".") -> Exported:
    """Write rows as a data set of temporal detections. Videos are listed in `data.json`, not copied.

    Args:
        rows: of a manifest; one sample each.
        folder: created if missing.
        base: folder of the manifest, which paths are relative to.

    Raises:
        DataError: no rows that the format can hold.

    >>> from mova.data.manifest import read_manifest
    >>> exported = write_fiftyone(read_manifest("films/manifest.jsonl"), "fiftyone", base="films")
    >>> exported.videos, exported.untimed
    (2, 0)
    """
    target = Path(folder)
    labels: dict[str, list[dict[str, Any]] | None] = {}
    media: dict[str, str] = {}
    untimed = 0
    single = [row for row in rows if not row.parts]
    if not single:
        raise DataError("there are no rows of one video each to write")
    for row in single:
        detections, missing = _to_detections(row)
        untimed += missing
        labels[row.id] = detections or None
        media[row.id] = str((Path(base) / row.video).absolute())
    target.mkdir(parents=True, exist_ok=True)
    for name, document in ((LABELS, {"classes": None, "labels": labels}), (MEDIA, media)):
        with replacing(target / name) as temporary:
            temporary.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    count = sum(len(detections or ()) for detections in labels.values())
    return Exported(target, len(single), count, untimed, len(rows) - len(single))


def _to_detections(row: Row) -> tuple[list[dict[str, Any]], int]:
    """Return the detections of a row, and the number of its texts that have no times."""
    known: dict[str, Any] = {"split": row.split}
    if row.duration is not None:
        known["duration"] = row.duration
    if row.start is not None:
        known |= {"clip_start": row.start, "clip_end": row.end}
    detections: list[dict[str, Any]] = []
    untimed = 0
    for number, caption in enumerate(row.captions):
        attributes: dict[str, Any] = {**known, "caption": number}
        if not caption.sentences:
            attributes["whole"] = True
        elif caption.text != " ".join(sentence.text for sentence in caption.sentences):
            attributes["caption_text"] = caption.text
        end = row.duration if row.end is None else row.end
        whole = TimedSentence(caption.text) if end is None else TimedSentence(caption.text, row.start or 0.0, end)
        for sentence in caption.sentences or (whole,):
            if sentence.start is None:
                untimed += 1
                continue
            times = [sentence.start, sentence.end]
            detections.append({"label": sentence.text, "timestamps": times, "attributes": attributes})
    return detections, untimed


def _media(folder: Path) -> dict[str, str]:
    """Return name -> path of the videos, by `data.json` or by the files in `data/`."""
    if (folder / MEDIA).is_file():
        listed = read_json(folder / MEDIA)
        if not isinstance(listed, dict) or not all(isinstance(path, str) for path in listed.values()):
            raise DataError(f"{folder / MEDIA}: an object of names and paths expected")
        return {name: str((folder / path).absolute()) for name, path in listed.items()}
    if not (folder / "data").is_dir():
        return {}
    return {path.stem: str(path.absolute()) for path in find_videos([folder / "data"])}


Detection = tuple[str, float, float, Mapping[str, Any]]
"""Text, start, end, attributes."""


def _detections(where: str, entries: Any, classes: Any, video: str, source: AnnotationSource) -> Iterator[Detection]:
    """Yield the detections of a video in order of time."""
    read: list[Detection] = []
    rate: float | None = None
    for number, entry in enumerate(to_list(where, entries) if entries is not None else [], start=1):
        place = f"{where}, detection {number}"
        if not isinstance(entry, dict):
            raise DataError(f"{place}: an object expected")
        if entry.get("timestamps") is not None:
            start, end = (to_number(place, time) for time in to_list(place, entry["timestamps"], 2))
        elif entry.get("support") is not None:
            first, last = (to_number(place, frame) for frame in to_list(place, entry["support"], 2))
            if rate is None:
                rate = probe(video).fps
                source.note("times are frame numbers divided by the average frame rate", Path(video).name)
            start, end = (first - 1) / rate, last / rate
        else:
            raise DataError(f"{place}: has neither 'timestamps' nor 'support'")
        attributes = entry.get("attributes") or {}
        if not isinstance(attributes, dict):
            raise DataError(f"{place}: 'attributes' must be an object")
        read.append((_label(place, entry.get("label"), classes), start, end, attributes))
    ordered = any("caption" in attributes for *_, attributes in read)  # as mova wrote them
    yield from read if ordered else sorted(read, key=lambda row: row[1:3])


def _label(where: str, label: Any, classes: Any) -> str:
    if isinstance(label, int) and isinstance(classes, list):
        if not 0 <= label < len(classes):
            raise DataError(f"{where}: label {label} is not the number of one of {len(classes)} classes")
        label = classes[label]
    return to_text(where, label)


def _captions(where: str, detections: Sequence[Detection]) -> Iterator[Caption]:
    """Yield the captions; sentences of a caption without a number belong to one."""
    groups: dict[Any, list[Detection]] = defaultdict(list)
    for detection in detections:
        groups[detection[3].get("caption", 0)].append(detection)
    for group in groups.values():
        if group[0][3].get("whole"):
            yield with_location(where, Caption, group[0][0])
            continue
        sentences = tuple(with_location(where, TimedSentence, text, start, end) for text, start, end, _ in group)
        text = str(group[0][3].get("caption_text", " ".join(sentence.text for sentence in sentences)))
        yield with_location(where, Caption, text, sentences)
