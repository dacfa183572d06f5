"""Public data sets -> one manifest: `DATA_SETS` names them, `convert` writes.

What comes out depends on the annotation files alone, never on which videos are on the disk: those that are missing are
counted and named, and left out only where that is asked for. The report's fingerprint is over ids and captions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mova.data.manifest import Row, fingerprint, read_manifest, write_manifest
from mova.data.quarantine import without_quarantined
from mova.data.readers import captioning as readers_captions
from mova.data.readers import folders as readers_folder
from mova.data.readers import moments as readers_moments
from mova.data.readers import tasks as readers_tasks
from mova.data.readers import web_scale as readers_web
from mova.data.readers.annotations import Collector, Source, origins, place_of, without_ending
from mova.errors import DataError, UsageError
from mova.utils.files import IMAGE_SUFFIXES, SUFFIXES, find_videos, seen_from

Reader = Callable[[Source, Collector], None]
MISSING = ("keep", "omit", "fail")
"""What becomes of rows whose video is not there: kept with the set's own name of the file, left out, or an error."""
HELD_OUT_SHARE = 5
"""Per cent of train that `hold_out` takes if not said otherwise."""


@dataclass(frozen=True)
class DataSet:
    """A public data set as `convert` knows it.

    Attributes:
        reader: fills a manifest from the original files; its docstring states source, splits and caption mode.
        published: rows of each part, as published.
        shares: what it has in common with other sets, so that training on one leaks into tests of the other.
        terms: what is stated about its use; not legal advice.
        suffixes: endings of its files.
        together: its files lie where its annotations do.
    """

    reader: Reader
    published: Mapping[str, int] = field(default_factory=dict)
    shares: tuple[str, ...] = ()
    terms: str = "see the publishers' terms"
    suffixes: frozenset[str] = SUFFIXES
    together: bool = False


_MSRVTT = (
    "MSR-VTT's splits overlap: 1k-A's test lies within the test of the full split, whose other test videos train 1k-A"
)
_ANET = "videos are of ActivityNet's validation part: do not train on val_1 or val_2"
_NEXTQA = "videos are of VidOR; ATP-Hard's questions are NExT-QA's validation questions"
_CHARADES = "Charades, Charades-STA and Charades-Ego share scripts, and the first two share videos"

DATA_SETS: dict[str, DataSet] = {
    "msrvtt-1ka": DataSet(readers_captions.msrvtt_1ka, {"train": 9000, "test": 1000}, (_MSRVTT,)),
    "msrvtt-7k": DataSet(readers_captions.msrvtt_7k, {"train": 7010, "test": 1000}, (_MSRVTT,)),
    "msrvtt-1kb": DataSet(readers_captions.msrvtt_1kb, {"train": 6656, "test": 1000}, (_MSRVTT,)),
    "msrvtt-full": DataSet(readers_captions.msrvtt_full, {"train": 6513, "val": 497, "test": 2990}, (_MSRVTT,)),
    "msvd": DataSet(readers_captions.msvd, {"train": 1200, "val": 100, "test": 670}),
    "didemo": DataSet(
        readers_captions.didemo, {"train": 8392, "val": 1065, "test": 1004}, terms="annotations BSD-2-Clause"
    ),
    "activitynet": DataSet(
        readers_captions.activitynet,
        {"train": 10009, "val_1": 4917},
        ("VideoCon-Human is made of validation videos; val_1 and val_2 describe the same videos",),
    ),
    "activitynet-val2": DataSet(
        readers_captions.activitynet_val2,
        {"train": 10009, "val_2": 4885},
        ("VideoCon-Human is made of validation videos; val_1 and val_2 describe the same videos",),
    ),
    "lsmdc": DataSet(readers_captions.lsmdc, {"train": 101079, "val": 7408, "test": 1000}),
    "vatex": DataSet(readers_captions.vatex, {"train": 25991, "val": 1500, "test": 1500}),
    "videoufo": DataSet(readers_web.videoufo, terms="CC BY 4.0"),
    "ultravideo": DataSet(readers_web.ultravideo, terms="CC BY 4.0, non-commercial research only"),
    "sharegpt4v": DataSet(
        readers_web.sharegpt4v,
        shares=("images are of COCO, LAION/CC/SBU, SA-1B and others",),
        terms="CC BY-NC 4.0",
        suffixes=IMAGE_SUFFIXES,
    ),
    "sharegpt4video": DataSet(readers_web.sharegpt4video, shares=("clips are of Panda-70M, Pexels and others",)),
    "internvid": DataSet(readers_web.internvid, terms="CC BY-NC-SA 4.0"),
    "videocon-llm": DataSet(
        readers_tasks.videocon_llm,
        shares=("videos are of MSR-VTT, VATEX and TEMPO (DiDeMo)",),
        terms="the sources' licences",
    ),
    "videocon-human": DataSet(readers_tasks.videocon_human, shares=(_ANET,), terms="the sources' licences"),
    "videocon-human-hard": DataSet(readers_tasks.videocon_human_hard, shares=(_ANET,), terms="the sources' licences"),
    "ssv2-temporal": DataSet(readers_tasks.ssv2_temporal, {"test": 216}, terms="Something-Something's terms"),
    "ssv2-events": DataSet(readers_tasks.ssv2_events, {"test": 588}, terms="Something-Something's terms"),
    "nextqa": DataSet(readers_tasks.nextqa, {"val": 4996, "test": 8564}, (_NEXTQA,), "annotations MIT"),
    "atp-hard": DataSet(readers_tasks.atp_hard, {"test": 2269}, (_NEXTQA,), "annotations MIT"),
    "atp-hard-statements": DataSet(readers_tasks.atp_hard_statements, {"test": 1846}, (_NEXTQA,), "annotations MIT"),
    "how2qa": DataSet(readers_tasks.how2qa, {"val": 2852, "test": 2937}, terms="annotations MIT"),
    "lvu": DataSet(readers_tasks.lvu),
    "coin": DataSet(readers_moments.coin, terms="research only"),
    "charades-ego": DataSet(readers_moments.charades_ego, shares=(_CHARADES,)),
    "charades-sta": DataSet(readers_moments.charades_sta, {"train": 5338, "test": 1334}, (_CHARADES,)),
    "qvhighlights": DataSet(
        readers_moments.qvhighlights, {"val": 1550, "test": 1542}, terms="annotations CC BY-NC-SA 4.0"
    ),
    "tacos": DataSet(readers_moments.tacos, {"train": 75, "val": 27, "test": 25}),
    "folder": DataSet(readers_folder.folder, terms="yours"),
    "class-folders": DataSet(
        readers_folder.class_folders, terms="yours", suffixes=SUFFIXES | IMAGE_SUFFIXES, together=True
    ),
}
"""Name on the command line -> data set."""


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        manifest: the file written.
        rows: as written.
        fingerprint: of them (`manifest.fingerprint`).
        notes: what was mended, left out or unusual -> which rows.
        missing: the set's names of videos that are not in the folder; None where no folder was given.
        quarantined: ids left out because a quarantine list names them.
        leaks: manifest it was compared with -> source videos that both hold.
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
        """The report as a JSON document."""
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
    """Read a data set's original annotation files and write one manifest.

    Args:
        name: of `DATA_SETS`.
        source: folder of the original files, or the only one.
        target: a `.jsonl` file, or a folder for `manifest.jsonl`.
        videos: folder with the videos, searched through, any known ending; the source itself where all lie together.
        splits: parts to read; None for all that are there.
        missing: of `MISSING`.
        against: manifests to look for the same source videos in.
        hold_out: name of a new part, taken from train by a hash of the source video's name: what chooses checkpoints
            where the publishers have no such part.
        share: how much of train that is, per cent of its source videos.
        quarantine: a list of `mova data check`; rows that it names are left out and counted.

    Raises:
        UsageError: an unknown name, or a part that is there already.
        DataError: the files do not hold what they must, or nothing was found in them.
    """
    if name not in DATA_SETS:
        raise UsageError(f"unknown data set {name!r}; known: {', '.join(DATA_SETS)}")
    if missing not in MISSING:
        raise UsageError(f"--missing must be one of {', '.join(MISSING)}, not {missing!r}")
    others = {str(path): read_manifest(path) for path in against}
    files = Source(source, splits)
    collector = Collector(name, files)
    DATA_SETS[name].reader(files, collector)
    rows = collector.rows
    for split in splits or ():
        if not any(row.split == split for row in rows):
            raise DataError(f"{source}: {name} has no split {split!r} there")
    if not rows:
        notes = "; ".join(f"{what}: {', '.join(which)}" for what, which in files.notes.items())
        raise DataError(f"{source}: holds no rows of {name} ({notes or 'empty files'})")
    if hold_out is not None:
        rows = held_out_rows(rows, hold_out, share)
    path = Path(target) if Path(target).suffix == ".jsonl" else Path(target) / "manifest.jsonl"
    absent = None
    videos = source if videos is None and DATA_SETS[name].together else videos
    if videos is not None:
        rows, absent = _resolved(rows, VideoFiles(videos, DATA_SETS[name].suffixes), path.parent)
        rows = _without_missing(rows, set(absent), missing, videos)
    rows, left_out = without_quarantined(rows, quarantine)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(path, rows)
    leaks = {other: shared for other, theirs in others.items() if (shared := shared_videos(rows, theirs))}
    return Conversion(name, path, tuple(rows), fingerprint(rows), files.notes, absent, leaks, left_out)


class VideoFiles:
    """The video files below a folder, found by name, by name without ending, or by path below the folder.

    Raises:
        UsageError: there is no such folder.
    """

    def __init__(self, folder: str | Path, suffixes: Collection[str] = SUFFIXES) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UsageError(f"{folder}: is not a folder of videos")
        self._paths: dict[str, list[Path]] = {}
        for path in find_videos([self.folder], suffixes):
            relative = path.relative_to(self.folder).as_posix()
            for key in {relative, without_ending(relative), path.name, without_ending(path.name)}:
                self._paths.setdefault(key, []).append(path)

    def find(self, video: str) -> Path | None:
        """The file of a set's name for a video; None where there is none.

        Raises:
            DataError: two files answer to it.
        """
        plain = video.replace("\\", "/").removeprefix("./").lstrip("/")
        tail = plain.rsplit("/", 1)[-1]
        for key in (plain, without_ending(plain), tail, without_ending(tail)):
            found = self._paths.get(key, [])
            if len(found) > 1:
                raise DataError(f"{self.folder}: {video!r} may be {found[0]} or {found[1]}; leave one of them")
            if found:
                return found[0]
        return None


def held_out_rows(rows: Sequence[Row], part: str, share: int = HELD_OUT_SHARE) -> list[Row]:
    """Rows in order, those of train whose source video's hash falls below `share` per cent now in `part`.

    Whoever does so gets the same rows, whatever is missing on their disk, and no source video is in both parts.

    Raises:
        UsageError: the part is there already, or the share is not within 1 to 99.
        DataError: one of the two parts is left empty.
    """
    if not 1 <= share <= 99:
        raise UsageError(f"the share to hold out must be 1 to 99 per cent, not {share}")
    if any(row.split == part for row in rows):
        raise UsageError(f"part {part!r} is there already; name another one to hold out")
    moved = [
        replace(row, split=part) if row.split == "train" and place_of(origins(row)[0]) < share else row for row in rows
    ]
    for name in ("train", part):
        if not any(row.split == name for row in moved):
            raise DataError(
                f"with {share} per cent of train held out as {part!r}, {name!r} is empty; say another share"
            )
    return moved


def shared_videos(rows: Iterable[Row], others: Iterable[Row]) -> list[str]:
    """Source videos that both have, sorted."""
    ours, theirs = ({origin for row in side for origin in origins(row)} for side in (rows, others))
    return sorted(ours & theirs)


def _resolved(rows: Sequence[Row], files: VideoFiles, folder: Path) -> tuple[list[Row], tuple[str, ...]]:
    """Rows with the paths of their files, and the names of those without, each once."""
    known: dict[str, str | None] = {}
    for row in rows:
        if row.video not in known:
            path = files.find(row.video)
            known[row.video] = None if path is None else seen_from(folder, path)
    resolved = [replace(row, video=known[row.video] or row.video) for row in rows]
    return resolved, tuple(video for video, path in known.items() if path is None)


def _without_missing(rows: list[Row], absent: set[str], missing: str, videos: str | Path) -> list[Row]:
    if missing == "fail" and absent:
        raise DataError(f"{videos}: lacks {len(absent)} videos, among them {', '.join(sorted(absent)[:5])}")
    kept = rows if missing != "omit" else [row for row in rows if row.video not in absent]
    if not kept:
        raise DataError(f"{videos}: holds none of the {len(absent)} videos, such as {min(absent)!r}")
    return kept
