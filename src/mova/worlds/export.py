"""Export Worlds in the format of public data sets: the same annotation files and file names, with known content.

    write_worlds -> manifest -> export_worlds(NAME, manifest, OUT) -> OUT/annotations, OUT/videos -> convert(NAME, ...)

This way a whole recipe can run without the real data, the reader included. Information that a format cannot express is
dropped: DiDeMo's times are segments of 5 s, and captions of MSVD, VideoUFO and UltraVideo have no times. Videos are
copies of the Worlds mp4 files; readers accept any extension. For ShareGPT4V, a still from the middle of each video is
written.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mova.data.manifest import Caption, Row, read_manifest
from mova.data.readers.annotations import hash_bucket
from mova.data.readers.captioning import DIDEMO_SEGMENT, LSMDC_FILES, MSRVTT_CAPTIONS
from mova.data.readers.registry import HELD_OUT_SHARE
from mova.data.readers.web_scale import SHAREGPT4V_FILES, ULTRAVIDEO_TEXTS, split_of
from mova.errors import UsageError
from mova.utils.tables import guard_cell
from mova.video.writer import thumbnail
from mova.worlds.label_formats import write_charades_ego, write_coin, write_how2qa, write_lvu

WORLDS_SPLITS = ("train", "val", "test")
PICTURE = 64
"""Shorter side of a still image, in pixels."""


@dataclass(frozen=True)
class Format:
    """File names and annotation format of a data set.

    Attributes:
        splits: names of the train, val and test splits after conversion.
        video_name: maps (number, split) to the name of a video, without extension.
        write: writes the annotation files of rows into a folder; the ids of the rows are the names of the videos.
        extension: extension of the video or image files.
    """

    splits: tuple[str, str, str]
    video_name: Callable[[int, str], str]
    write: Callable[[Sequence[Row], Path], None]
    extension: str = ".mp4"


@dataclass(frozen=True)
class ExportedWorlds:
    """Result of `export_worlds`.

    Attributes:
        annotations, videos: folders, as `mova data convert` expects them.
        rows: the Worlds rows with the data set's ids and splits; `video` is relative to `videos`.
    """

    annotations: Path
    videos: Path
    rows: tuple[Row, ...]


def export_worlds(name: str, manifest: str | Path, out: str | Path) -> ExportedWorlds:
    """Write Worlds in the format of a data set.

    Args:
        name: one of `FORMATS` or `LABELS`.
        manifest: a Worlds manifest (`mova.worlds.writer.write_worlds`).
        out: folder for `annotations` and `videos`.

    Raises:
        UsageError: unknown format, or rows that are not Worlds rows.
    """
    known = FORMATS | LABELS
    if name not in known:
        raise UsageError(f"Worlds cannot be exported as {name!r}; choose one of {', '.join(known)}")
    spec, out, folder = known[name], Path(out), Path(manifest).resolve().parent
    annotations, videos = out / "annotations", out / "videos"
    annotations.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, row in enumerate(read_manifest(manifest)):
        if row.source != "worlds" or row.split not in WORLDS_SPLITS:
            raise UsageError(f"{manifest}: row {row.id!r} is not a Worlds row; render videos with `mova data worlds`")
        split = spec.splits[WORLDS_SPLITS.index(row.split)]
        id = spec.video_name(number, split)
        file = f"{id}{spec.extension}"
        target = videos / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if spec.extension == ".mp4":
            shutil.copyfile(folder / row.video, target)
        else:
            assert row.duration is not None
            thumbnail(folder / row.video, row.duration / 2, short_side=PICTURE).save(target)
        rows.append(replace(row, id=id, video=file, split=split))
    spec.write(rows, annotations)
    return ExportedWorlds(annotations, videos, tuple(rows))


def paragraph(row: Row) -> Caption:
    """Return the first caption with several sentences, for formats with long texts (default: the first caption)."""
    return next((caption for caption in row.captions if len(caption.sentences) > 1), row.captions[0])


def _letters(number: int, accept: Callable[[str], bool], length: int = 11) -> str:
    """Return a name like YouTube's, the first for this number that `accept` accepts."""
    for attempt in range(100_000):
        digest = hashlib.blake2b(f"{number}.{attempt}".encode(), digest_size=9).digest()
        name = base64.urlsafe_b64encode(digest).decode()[:length]
        if name.isalnum() and accept(name):
            return name
    raise AssertionError(f"no name for video {number}")


def _any(name: str) -> bool:
    return True


def _json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _table(path: Path, columns: Sequence[str], lines: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for line in lines:
            writer.writerow({key: guard_cell(cell) if isinstance(cell, str) else cell for key, cell in line.items()})


def _activitynet_name(number: int, split: str) -> str:
    """Name a video so that `convert(hold_out="val")`, which hashes the name, puts it into `split`."""
    return "v_" + _letters(number, lambda name: (hash_bucket(name) < HELD_OUT_SHARE) == (split == "val"))


def _activitynet(rows: Sequence[Row], folder: Path) -> None:
    for file, splits in (("train.json", ("train", "val")), ("val_1.json", ("val_1",))):
        document = {}
        for row in (row for row in rows if row.split in splits):
            sentences = paragraph(row).sentences
            document[row.id] = {
                "duration": row.duration,
                "timestamps": [[sentence.start, sentence.end] for sentence in sentences],
                "sentences": [sentence.text for sentence in sentences],
            }
        _json(folder / file, document)


def _msrvtt_name(number: int, split: str) -> str:
    """Name a video so that `convert(hold_out="val")`, which hashes the name, puts it into `split`."""
    for attempt in range(100_000):
        name = f"video{number * 100_000 + attempt}"
        if (hash_bucket(name) < HELD_OUT_SHARE) == (split == "val"):
            return name
    raise AssertionError(f"no name for video {number}")


def _msrvtt_1ka(rows: Sequence[Row], folder: Path) -> None:
    train, test = ([row for row in rows if (row.split == "test") == tested] for tested in (False, True))
    sentences = [{"video_id": row.id, "caption": caption.text} for row in train for caption in row.captions]
    _json(folder / MSRVTT_CAPTIONS, {"sentences": sentences})
    _table(folder / "MSRVTT_train.9k.csv", ("video_id",), [{"video_id": row.id} for row in train])
    columns = ("key", "vid_key", "video_id", "sentence")
    lines = [(f"ret{i}", f"msr{i}", row.id, paragraph(row).text) for i, row in enumerate(test)]
    _table(folder / "MSRVTT_JSFUSION_test.csv", columns, [dict(zip(columns, line, strict=True)) for line in lines])


def _lsmdc_name(number: int, split: str) -> str:
    return f"{number:04d}_A_Film_00.00.01.000-00.00.11.000"


def _lsmdc(rows: Sequence[Row], folder: Path) -> None:
    times = ("00.00.01.000", "00.00.11.000")
    for split, name in LSMDC_FILES.items():
        lines = ["\t".join((row.id, *times, *times, paragraph(row).text)) for row in rows if row.split == split]
        (folder / f"LSMDC16_{name}.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _msvd_name(number: int, split: str) -> str:
    return f"{_letters(number, _any)}_{number}_{number + 10}"


def _msvd(rows: Sequence[Row], folder: Path) -> None:
    lines = ["# a remark, as the publishers' file begins with"]
    for row in rows:
        texts = dict.fromkeys(sentence.text for caption in row.captions for sentence in caption.sentences)
        lines += [f"{row.id} {text}" for text in texts]
    (folder / "AllVideoDescriptions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for split in WORLDS_SPLITS:
        (folder / f"{split}_list.txt").write_text("".join(f"{row.id}\n" for row in rows if row.split == split), "utf-8")


def _didemo_name(number: int, split: str) -> str:
    digits = int(hashlib.blake2b(str(number).encode(), digest_size=4).hexdigest(), 16)
    return f"{10_000_000 + number}@N00_{digits}_{_letters(number, _any, 10)}"


def _didemo(rows: Sequence[Row], folder: Path) -> None:
    """Write four annotators per sentence, three of whom agree."""
    for split in WORLDS_SPLITS:
        selected = [row for row in rows if row.split == split]
        entries: list[dict[str, object]] = []
        for row in selected:
            for sentence in paragraph(row).sentences:
                assert sentence.start is not None
                assert sentence.end is not None
                segment = [int(sentence.start // DIDEMO_SEGMENT), math.ceil(sentence.end / DIDEMO_SEGMENT) - 1]
                entry = {"annotation_id": len(entries), "video": row.video, "description": sentence.text}
                entries.append({**entry, "num_segments": 6, "times": [[5, 5], segment, segment, segment]})
        _json(folder / f"{split}_data.json", entries)
        (folder / f"{split}_list.txt").write_text("".join(f"{row.video}\n" for row in selected), encoding="utf-8")


def _held_out_name(number: int, split: str) -> str:
    """Return a source video name that mova's split (for data sets without an official one) puts into `split`."""
    return _letters(number, lambda name: split_of(name) == split)


def _videoufo(rows: Sequence[Row], folder: Path) -> None:
    columns = ("ID", "Topic", "Brief Caption", "Detailed Caption")
    lines = [(row.id, "worlds", row.captions[-1].text, paragraph(row).text) for row in rows]
    _table(folder / "VideoUFO.csv", columns, [dict(zip(columns, line, strict=True)) for line in lines])


def _ultravideo_name(number: int, split: str) -> str:
    return hashlib.blake2b(f"{number}.{split}".encode(), digest_size=16).hexdigest()


def _ultravideo(rows: Sequence[Row], folder: Path) -> None:
    """Write clips with meaningless names; the source, which decides the split, is a column."""
    lines = []
    for number, row in enumerate(rows):
        texts = (row.captions[-1].text, row.captions[1].text, paragraph(row).text)
        line = {"clip_id": row.video, "url": _held_out_name(number, row.split), "duration": row.duration}
        lines.append({**line, "Lighting": "", **dict(zip(ULTRAVIDEO_TEXTS, texts, strict=True))})
    _table(folder / "short.csv", ("clip_id", "url", "duration", "Lighting", *ULTRAVIDEO_TEXTS), lines)


def _sharegpt4v_name(number: int, split: str) -> str:
    for attempt in range(100_000):
        name = f"coco/train2017/{number * 100_000 + attempt:012d}"
        if split_of(f"{name}.jpg") == split:
            return name
    raise AssertionError(f"no name for image {number}")


def _sharegpt4v(rows: Sequence[Row], folder: Path) -> None:
    entries = []
    for row in rows:
        question = {"from": "human", "value": "<image>\nWhat do you see in the picture?"}
        answer = {"from": "gpt", "value": paragraph(row).text}
        entries.append({"id": Path(row.id).name, "image": row.video, "conversations": [question, answer]})
    _json(folder / SHAREGPT4V_FILES[0], entries)


FORMATS: dict[str, Format] = {
    "activitynet": Format(("train", "val", "val_1"), _activitynet_name, _activitynet),
    "msrvtt-1ka": Format(WORLDS_SPLITS, _msrvtt_name, _msrvtt_1ka),
    "lsmdc": Format(WORLDS_SPLITS, _lsmdc_name, _lsmdc),
    "msvd": Format(WORLDS_SPLITS, _msvd_name, _msvd),
    "didemo": Format(WORLDS_SPLITS, _didemo_name, _didemo),
    "videoufo": Format(WORLDS_SPLITS, lambda number, split: f"{_held_out_name(number, split)}.{number}", _videoufo),
    "ultravideo": Format(WORLDS_SPLITS, _ultravideo_name, _ultravideo),
    "sharegpt4v": Format(WORLDS_SPLITS, _sharegpt4v_name, _sharegpt4v, ".jpg"),
}
"""Formats by the name of the data set (as in `mova data convert`)."""
LABELS: dict[str, Format] = {
    "how2qa": Format(("train", "train", "val"), lambda number, _: _letters(number, _any), write_how2qa),
    "lvu": Format(WORLDS_SPLITS, lambda number, _: _letters(number, _any), write_lvu),
    "coin": Format(WORLDS_SPLITS, lambda number, split: _activitynet_name(number, split)[2:], write_coin),
    "charades-ego": Format(("train", "train", "test"), lambda number, _: _letters(number, _any), write_charades_ego),
}
"""Formats whose labels or questions are made up (`label_formats.py`)."""
