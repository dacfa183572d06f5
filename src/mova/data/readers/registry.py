"""Convert public data sets to manifests: `DATA_SETS` lists them, `convert` writes the manifest.

By default the rows depend only on the annotation files, not on which videos are on disk: missing videos are counted and
named, and left out only on request. The report's fingerprint covers ids and captions.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mova.data.exchange import fiftyone, hub
from mova.data.manifest import Row, fingerprint, read_manifest, write_manifest
from mova.data.quarantine import without_quarantined
from mova.data.readers import captioning, folders, moments, subtitles, tasks, web_scale, webdataset
from mova.data.readers.annotations import AnnotationSource, Collector, hash_bucket, origins, without_suffix
from mova.data.shards.members import split_path
from mova.errors import DataError, UsageError
from mova.utils.files import IMAGE_SUFFIXES, SUFFIXES, find_videos, seen_from

Reader = Callable[[AnnotationSource, Collector], None]
MISSING = ("keep", "omit", "fail")
"""How to handle rows without a video file: keep them with the data set's name of the file, omit them, or fail."""
HELD_OUT_SHARE = 5
"""Default percentage of train that `hold_out` takes."""


@dataclass(frozen=True)
class DataSet:
    """A public data set that `convert` can read.

    Attributes:
        reader: adds rows from the original files; its docstring states source, files, splits and captions.
        published: published number of rows of each split.
        shares: overlaps with other sets, through which training on one leaks into tests of the other.
        terms: stated terms of use; not legal advice.
        suffixes: file extensions of its videos.
        same_folder: its videos are in the folder of its annotations.

    >>> DATA_SETS["didemo"].published, DATA_SETS["didemo"].terms
    ({'train': 8392, 'val': 1065, 'test': 1004}, 'annotations BSD-2-Clause')
    """

    reader: Reader
    published: Mapping[str, int] = field(default_factory=dict)
    shares: tuple[str, ...] = ()
    terms: str = "see the publishers' terms"
    suffixes: frozenset[str] = SUFFIXES
    same_folder: bool = False


_MSRVTT = (
    "MSR-VTT's splits overlap: 1k-A's test is part of the test of the full split, whose other test videos train 1k-A"
)
_ANET = "videos are from ActivityNet's validation split: do not train on val_1 or val_2"
_NEXTQA = "videos are from VidOR; ATP-Hard's questions are NExT-QA's validation questions"
_CHARADES = "Charades, Charades-STA and Charades-Ego share scripts, and the first two share videos"

DATA_SETS: dict[str, DataSet] = {
    "msrvtt-1ka": DataSet(captioning.msrvtt_1ka, {"train": 9000, "test": 1000}, (_MSRVTT,)),
    "msrvtt-7k": DataSet(captioning.msrvtt_7k, {"train": 7010, "test": 1000}, (_MSRVTT,)),
    "msrvtt-1kb": DataSet(captioning.msrvtt_1kb, {"train": 6656, "test": 1000}, (_MSRVTT,)),
    "msrvtt-full": DataSet(captioning.msrvtt_full, {"train": 6513, "val": 497, "test": 2990}, (_MSRVTT,)),
    "msvd": DataSet(captioning.msvd, {"train": 1200, "val": 100, "test": 670}),
    "didemo": DataSet(captioning.didemo, {"train": 8392, "val": 1065, "test": 1004}, terms="annotations BSD-2-Clause"),
    "activitynet": DataSet(
        captioning.activitynet,
        {"train": 10009, "val_1": 4917},
        ("VideoCon-Human is made of validation videos; val_1 and val_2 describe the same videos",),
    ),
    "activitynet-val2": DataSet(
        captioning.activitynet_val2,
        {"train": 10009, "val_2": 4885},
        ("VideoCon-Human is made of validation videos; val_1 and val_2 describe the same videos",),
    ),
    "lsmdc": DataSet(captioning.lsmdc, {"train": 101079, "val": 7408, "test": 1000}),
    "vatex": DataSet(captioning.vatex, {"train": 25991, "val": 1500, "test": 1500}),
    "videoufo": DataSet(web_scale.videoufo, terms="CC BY 4.0"),
    "ultravideo": DataSet(web_scale.ultravideo, terms="CC BY 4.0, non-commercial research only"),
    "sharegpt4v": DataSet(
        web_scale.sharegpt4v,
        shares=("images are from COCO, LAION/CC/SBU, SA-1B and others",),
        terms="CC BY-NC 4.0",
        suffixes=IMAGE_SUFFIXES,
    ),
    "sharegpt4video": DataSet(web_scale.sharegpt4video, shares=("clips are from Panda-70M, Pexels and others",)),
    "internvid": DataSet(web_scale.internvid, terms="CC BY-NC-SA 4.0"),
    "videocon-llm": DataSet(
        tasks.videocon_llm,
        shares=("videos are from MSR-VTT, VATEX and TEMPO (DiDeMo)",),
        terms="the sources' licences",
    ),
    "videocon-human": DataSet(tasks.videocon_human, shares=(_ANET,), terms="the sources' licences"),
    "videocon-human-hard": DataSet(tasks.videocon_human_hard, shares=(_ANET,), terms="the sources' licences"),
    "ssv2-temporal": DataSet(tasks.ssv2_temporal, {"test": 216}, terms="Something-Something's terms"),
    "ssv2-events": DataSet(tasks.ssv2_events, {"test": 588}, terms="Something-Something's terms"),
    "nextqa": DataSet(tasks.nextqa, {"val": 4996, "test": 8564}, (_NEXTQA,), "annotations MIT"),
    "atp-hard": DataSet(tasks.atp_hard, {"test": 2269}, (_NEXTQA,), "annotations MIT"),
    "atp-hard-statements": DataSet(tasks.atp_hard_statements, {"test": 1846}, (_NEXTQA,), "annotations MIT"),
    "how2qa": DataSet(tasks.how2qa, {"val": 2852, "test": 2937}, terms="annotations MIT"),
    "lvu": DataSet(tasks.lvu),
    "coin": DataSet(moments.coin, terms="research only"),
    "charades-ego": DataSet(moments.charades_ego, shares=(_CHARADES,)),
    "charades-sta": DataSet(moments.charades_sta, {"train": 5338, "test": 1334}, (_CHARADES,)),
    "qvhighlights": DataSet(moments.qvhighlights, {"val": 1550, "test": 1542}, terms="annotations CC BY-NC-SA 4.0"),
    "tacos": DataSet(moments.tacos, {"train": 75, "val": 27, "test": 25}),
    "youcook2": DataSet(moments.youcook2),
    "synopground": DataSet(moments.synopground),
    "htm-align": DataSet(
        moments.htm_align, {"test": 80}, ("videos are from HowTo100M, category Food and Entertaining",)
    ),
    "datasets": DataSet(hub.datasets, terms="see the data set's card", suffixes=SUFFIXES | IMAGE_SUFFIXES),
    "fiftyone": DataSet(fiftyone.fiftyone, terms="yours"),
    "folder": DataSet(folders.folder, terms="yours"),
    "subtitles": DataSet(subtitles.subtitles, terms="yours", same_folder=True),
    "webdataset": DataSet(webdataset.webdataset, terms="yours", same_folder=True),
    "class-folders": DataSet(
        folders.class_folders, terms="yours", suffixes=SUFFIXES | IMAGE_SUFFIXES, same_folder=True
    ),
}
"""Name, as on the command line -> data set."""


@dataclass(frozen=True)
class Conversion:
    """Result of `convert`.

    Attributes:
        name: name of the data set.
        manifest: the file written.
        rows: the rows written.
        fingerprint: their fingerprint (`manifest.fingerprint`).
        notes: what was corrected, left out or unusual -> the rows concerned.
        missing: the data set's names of videos that are not in the folder; None if no folder was given.
        leaks: manifest it was compared with -> source videos in both.
        quarantined: ids left out because a quarantine list has them.

    >>> _ = Path("captions.csv").write_text("video,caption\\nfilm.mp4,Two black balls shrink.\\nb.mp4,A dog runs.\\n")
    >>> result = convert("folder", "captions.csv", "own.jsonl", videos=".")
    >>> len(result.rows), result.missing, result.to_json()["splits"]
    (2, ('b.mp4',), {'train': {'rows': 2, 'published': None}})
    """

    name: str
    manifest: Path
    rows: tuple[Row, ...]
    fingerprint: str
    notes: Mapping[str, Sequence[str]]
    missing: tuple[str, ...] | None
    leaks: Mapping[str, Sequence[str]]
    quarantined: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        counts = Counter(row.split for row in self.rows)
        published = DATA_SETS[self.name].published
        return {
            "data_set": self.name,
            "manifest": str(self.manifest),
            "rows": len(self.rows),
            "captions": sum(len(row.captions) for row in self.rows),
            "splits": {split: {"rows": n, "published": published.get(split)} for split, n in counts.items()},
            "fingerprint": self.fingerprint,
            "notes": {what: {"count": len(which), "which": list(which)} for what, which in self.notes.items()},
            "missing": None if self.missing is None else {"count": len(self.missing), "videos": list(self.missing)},
            "quarantined": {"count": len(self.quarantined), "rows": list(self.quarantined)},
            "shares": list(DATA_SETS[self.name].shares),
            "leaks": {other: {"count": len(which), "videos": list(which)} for other, which in self.leaks.items()},
            "terms": DATA_SETS[self.name].terms,
        }


def convert(
    name: str,
    source: str | Path,
    target: str | Path,
    *,
    videos: str | Path | None = None,
    splits: Collection[str] | None = None,
    missing: str = "keep",
    against: Iterable[str | Path] = (),
    hold_out: str | None = None,
    share: int = HELD_OUT_SHARE,
    quarantine: str | Path | None = None,
) -> Conversion:
    """Read the original annotation files of a data set and write one manifest.

    Args:
        name: one of `DATA_SETS`.
        source: folder of the original files, or the only file.
        target: a `.jsonl` file, or a folder for `manifest.jsonl`.
        videos: folder of the videos, searched recursively; default: `source` for data sets of a single folder.
        splits: splits to read; None for all whose files exist.
        missing: one of `MISSING`.
        against: manifests to search for the same source videos.
        hold_out: name of a new split, taken from train by a hash of the source video's name; for choosing checkpoints
            if the publishers have no validation split.
        share: percentage of train's source videos to hold out.
        quarantine: a quarantine list of `mova data check`; its rows are left out and counted.

    Raises:
        UsageError: an unknown name, or a split that already exists.
        DataError: the files are invalid or have no rows.

    >>> _ = Path("captions.csv").write_text("video,caption,split\\nfilm.mp4,Two black balls shrink.,train\\n")
    >>> convert("folder", "captions.csv", "own.jsonl", videos=".").rows[0].captions[0].text
    'Two black balls shrink.'
    """
    if name not in DATA_SETS:
        raise UsageError(f"unknown data set {name!r}; choose from {', '.join(DATA_SETS)}")
    if missing not in MISSING:
        raise UsageError(f"--missing must be one of {', '.join(MISSING)}, not {missing!r}")
    others = {str(path): read_manifest(path) for path in against}
    files = AnnotationSource(source, splits)
    rows = _read_rows(name, files, splits)
    if hold_out is not None:
        rows = held_out_rows(rows, hold_out, share)
    path = Path(target) if Path(target).suffix == ".jsonl" else Path(target) / "manifest.jsonl"
    absent = None
    videos = files.folder if videos is None and DATA_SETS[name].same_folder else videos
    if videos is not None:
        rows, absent = _resolve_files(rows, VideoFiles(videos, DATA_SETS[name].suffixes), path.parent)
        rows = _handle_missing(rows, set(absent), missing, videos)
    rows, left_out = without_quarantined(rows, quarantine)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(path, rows)
    leaks = {other: shared for other, other_rows in others.items() if (shared := shared_videos(rows, other_rows))}
    return Conversion(name, path, tuple(rows), fingerprint(rows), files.notes, absent, leaks, left_out)


class VideoFiles:
    """The video files in a folder and its subfolders, found by name, by name without extension, or by relative path.

    Raises:
        UsageError: the folder does not exist.

    >>> files = VideoFiles("films")
    >>> files.find("world-flat-1-00000").name, files.find("unknown")
    ('world-flat-1-00000.mp4', None)
    """

    def __init__(self, folder: str | Path, suffixes: Collection[str] = SUFFIXES) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UsageError(f"{folder}: is not a folder of videos")
        self._paths: dict[str, list[Path]] = {}
        for path in find_videos([self.folder], suffixes):
            relative = path.relative_to(self.folder).as_posix()
            for key in {relative, without_suffix(relative), path.name, without_suffix(path.name)}:
                self._paths.setdefault(key, []).append(path)

    def find(self, video: str) -> Path | None:
        """Return the file that a data set's name of a video refers to; None if there is none.

        Raises:
            DataError: the name matches two files.
        """
        plain = video.replace("\\", "/").removeprefix("./").lstrip("/")
        tail = plain.rsplit("/", 1)[-1]
        for key in (plain, without_suffix(plain), tail, without_suffix(tail)):
            paths = self._paths.get(key, [])
            if len(paths) > 1:
                raise DataError(f"{self.folder}: {video!r} may be {paths[0]} or {paths[1]}; keep one of them")
            if paths:
                return paths[0]
        return None


def held_out_rows(rows: Sequence[Row], part: str, share: int = HELD_OUT_SHARE) -> list[Row]:
    """Move `share` percent of train's source videos, by a hash of their names, to the split `part`.

    The result does not depend on which videos are on disk, and no source video is in both splits.

    Args:
        rows: rows, whose order is kept.
        part: name of the new split.
        share: percentage to hold out, 1 to 99.

    Raises:
        UsageError: the split already exists, or the share is not in 1 to 99.
        DataError: one of the two splits would be empty.

    >>> rows = [Row(f"{i}", f"{i}.mp4", None, "train", ()) for i in range(100)]
    >>> Counter(row.split for row in held_out_rows(rows, "val", share=20))
    Counter({'train': 80, 'val': 20})
    """
    if not 1 <= share <= 99:
        raise UsageError(f"the share to hold out must be 1 to 99 percent, not {share}")
    if any(row.split == part for row in rows):
        raise UsageError(f"split {part!r} already exists; choose another name for the held-out split")
    held_out = [row.split == "train" and hash_bucket(origins(row)[0]) < share for row in rows]
    split_rows = [replace(row, split=part) if moved else row for row, moved in zip(rows, held_out, strict=True)]
    for name in ("train", part):
        if not any(row.split == name for row in split_rows):
            raise DataError(
                f"with {share} percent of train held out as {part!r}, {name!r} is empty; choose another share"
            )
    return split_rows


def shared_videos(rows: Iterable[Row], others: Iterable[Row]) -> list[str]:
    """Return the source videos of both collections of rows, sorted.

    >>> train = [Row("a", "videos/film.mp4", None, "train", ()), Row("b", "videos/other.mp4", None, "train", ())]
    >>> shared_videos(train, [Row("c", "film.mp4", None, "test", ())])
    ['film']
    """
    first, second = ({origin for row in side for origin in origins(row)} for side in (rows, others))
    return sorted(first & second)


def _read_rows(name: str, files: AnnotationSource, splits: Collection[str] | None) -> list[Row]:
    """Return the rows of a data set, of which each requested split must have some."""
    collector = Collector(name, files)
    DATA_SETS[name].reader(files, collector)
    rows = collector.rows
    for split in splits or ():
        if not any(row.split == split for row in rows):
            raise DataError(f"{files.path}: has no split {split!r} of {name}")
    if not rows:
        notes = "; ".join(f"{what}: {', '.join(which)}" for what, which in files.notes.items())
        raise DataError(f"{files.path}: has no rows of {name} ({notes or 'empty files'})")
    return rows


def _resolve_files(rows: Sequence[Row], files: VideoFiles, folder: Path) -> tuple[list[Row], tuple[str, ...]]:
    """Return rows with the paths of their files, and the distinct names of missing videos."""
    known: dict[str, str | None] = {}
    for row in rows:
        if row.video not in known and not row.parts:
            exists = os.path.isabs(row.video) and (os.path.isfile(row.video) or split_path(row.video))
            path = Path(row.video) if exists else files.find(row.video)
            known[row.video] = None if path is None else seen_from(folder, path)
    resolved = [replace(row, video=known.get(row.video) or row.video) for row in rows]
    return resolved, tuple(video for video, path in known.items() if path is None)


def _handle_missing(rows: list[Row], absent: set[str], missing: str, videos: str | Path) -> list[Row]:
    if missing == "fail" and absent:
        raise DataError(f"{videos}: {len(absent)} videos are missing, such as {', '.join(sorted(absent)[:5])}")
    kept = rows if missing != "omit" else [row for row in rows if row.video not in absent]
    if not kept:
        raise DataError(f"{videos}: has none of the {len(absent)} videos, such as {min(absent)!r}")
    return kept
