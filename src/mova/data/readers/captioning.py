"""Readers of the classical retrieval sets: MSR-VTT, MSVD, DiDeMo, ActivityNet Captions, LSMDC, VATEX."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mova.data.manifest import Caption
from mova.data.readers.annotations import (
    Collector,
    Source,
    captioned,
    fields,
    listed,
    located,
    number,
    read_csv,
    read_json,
    read_list,
    read_table,
    stripped,
)
from mova.errors import DataError

MSRVTT_CAPTIONS = "MSRVTT_data.json"
MSRVTT_FULL = {"train": range(6513), "val": range(6513, 7010), "test": range(7010, 10_000)}
"""Numbers of MSR-VTT's own split: `video0` to `video6512` train, and so on (Xu et al., CVPR 2016)."""
DIDEMO_SEGMENT = 5.0
"""Seconds of one of DiDeMo's segments; annotators saw the first 30 s of a video as six of them."""


def msrvtt_1ka(source: Source, rows: Collector) -> None:
    """MSR-VTT 1k-A (Yu et al., JSFusion, ECCV 2018): 9,000 train; 1,000 test with one chosen sentence each.

    Train: `MSRVTT_train.9k.csv` and all about twenty sentences of `MSRVTT_data.json`, each a caption.
    Test: `MSRVTT_JSFUSION_test.csv` alone, one caption a video.
    """
    _msrvtt_listed(source, rows, "train", ("MSRVTT_train.9k.csv", "train_list_jsfusion.txt"))
    _msrvtt_jsfusion(source, rows)


def msrvtt_7k(source: Source, rows: Collector) -> None:
    """MSR-VTT with the 7,010 training videos of Miech et al. (`MSRVTT_train.7k.csv`) and 1k-A's test."""
    _msrvtt_listed(source, rows, "train", ("MSRVTT_train.7k.csv",))
    _msrvtt_jsfusion(source, rows)


def msrvtt_1kb(source: Source, rows: Collector) -> None:
    """MSR-VTT 1k-B (Miech et al., arXiv 1804.02516): 6,656 train, 1,000 test; every sentence is a caption.

    The lists are collaborative-experts' `train_list_miech.txt` and `test_list_miech.txt`.
    """
    _msrvtt_listed(source, rows, "train", ("train_list_miech.txt",))
    _msrvtt_listed(source, rows, "test", ("test_list_miech.txt",))


def msrvtt_full(source: Source, rows: Collector) -> None:
    """MSR-VTT's own split: 6,513 train, 497 val, 2,990 test; every sentence is a caption."""
    for split, numbers in MSRVTT_FULL.items():
        if found := source.part(split, MSRVTT_CAPTIONS):
            _add_listed(rows, split, {f"video{n}": f"{found[0]}, split {split!r}" for n in numbers}, _msrvtt(found[0]))


def _msrvtt_listed(source: Source, rows: Collector, split: str, lists: tuple[str, ...]) -> None:
    if found := source.part(split, lists, MSRVTT_CAPTIONS):
        _add_listed(rows, split, read_list(found[0], header="video_id"), _msrvtt(found[1]))


def _msrvtt_jsfusion(source: Source, rows: Collector) -> None:
    if found := source.part("test", ("MSRVTT_JSFUSION_test.csv", "milnce_msrvtt_test.csv")):
        for where, row in read_csv(found[0], "key", "video_id", "sentence"):
            meta = {"key": row["key"]}
            captions = captioned(where, row["sentence"])
            rows.add(where, id=row["video_id"], split="test", captions=captions, meta=meta)


def _msrvtt(path: Path) -> dict[str, list[str]]:
    """Sentences of every video of `MSRVTT_data.json`, in the order of the file."""
    captions: dict[str, list[str]] = {}
    (sentences,) = fields(str(path), read_json(path), "sentences")
    for position, entry in enumerate(listed(f"{path}, 'sentences'", sentences), start=1):
        where = f"{path}, sentence {position}"
        video, text = fields(where, entry, "video_id", "caption")
        captions.setdefault(stripped(where, video), []).append(stripped(where, text))
    return captions


def _add_listed(rows: Collector, split: str, ids: dict[str, str], captions: dict[str, list[str]]) -> None:
    """Rows of the listed ids, in the list's order, each with all its captions."""
    for id, where in ids.items():
        if id not in captions:
            raise DataError(f"{where}: {id!r} has no caption in the caption file")
        rows.add(where, id=id, split=split, captions=captioned(where, *captions[id]))


def msvd(source: Source, rows: Collector) -> None:
    """MSVD (Chen and Dolan, ACL 2011): 1,200 / 100 / 670 videos, about forty sentences each, each a caption.

    `train_list.txt`, `val_list.txt`, `test_list.txt`, and `raw-captions.pkl` (id -> lists of words; read without
    running anything in it) or the publishers' `AllVideoDescriptions.txt` (`ID sentence`, `#` begins a remark).
    """
    captions: dict[str, list[str]] | None = None
    for split in ("train", "val", "test"):
        if found := source.part(split, f"{split}_list.txt", ("raw-captions.pkl", "AllVideoDescriptions.txt")):
            if captions is None:
                captions = _msvd_pickled(found[1]) if found[1].suffix == ".pkl" else _msvd_lines(found[1])
            _add_listed(rows, split, read_list(found[0]), captions)


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, texts and numbers; refuses a pickle that names any code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, and only plain lists and texts are read")


def _msvd_pickled(path: Path) -> dict[str, list[str]]:
    try:
        with path.open("rb") as file:
            document = _PlainUnpickler(file, encoding="utf-8").load()
    except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(f"{path}: cannot be read as a pickle of captions: {error}") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: must hold a dictionary from id to captions, not {type(document).__name__}")
    captions = {}
    for id, sentences in document.items():
        where = f"{path}, entry {id!r}"
        words = [listed(where, sentence) for sentence in listed(where, sentences)]
        captions[id] = [" ".join(stripped(where, word) for word in sentence) for sentence in words]
    return captions


def _msvd_lines(path: Path) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = {}
    for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            id, _, text = line.strip().partition(" ")
            captions.setdefault(id, []).append(stripped(f"{path}, line {line_number}", text))
    return captions


def activitynet(source: Source, rows: Collector) -> None:
    """ActivityNet Captions (Krishna et al., ICCV 2017), train and val_1: what CLIP4Clip and most others report.

    `train.json`, `val_1.json`: id -> duration, timestamps (seconds), sentences. One caption a video: its sentences
    joined by blanks into a paragraph, each with its own seconds.
    """
    _activitynet(source, rows, "train", "val_1")


def activitynet_val2(source: Source, rows: Collector) -> None:
    """ActivityNet Captions, train and val_2: other annotators' paragraphs of 4,885 of the same validation videos."""
    _activitynet(source, rows, "train", "val_2")


def _activitynet(source: Source, rows: Collector, *splits: str) -> None:
    for split in splits:
        if found := source.part(split, f"{split}.json"):
            for id, entry in _entries(found[0], read_json(found[0])):
                where = f"{found[0]}, entry {id!r}"
                duration, spans, texts = fields(where, entry, "duration", "timestamps", "sentences")
                spans = listed(where, spans, len(listed(where, texts)))
                sentences = tuple(
                    rows.sentence(where, text, *listed(where, span, 2)) for text, span in zip(texts, spans, strict=True)
                )
                paragraph = located(where, Caption, " ".join(s.text for s in sentences), sentences)
                rows.add(where, id=id, split=split, captions=[paragraph], duration=number(where, duration))


def _entries(path: Path, document: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(document, dict):
        raise DataError(f"{path}: must be an object from id to annotation, not {type(document).__name__}")
    return document.items()


def didemo(source: Source, rows: Collector) -> None:
    """DiDeMo (Hendricks et al., ICCV 2017): one caption a video, all its descriptions joined in the file's order.

    `train_data.json`, `val_data.json`, `test_data.json`; with `*_list.txt` (collaborative-experts) only listed videos
    are read, and the rest is noted. Annotators saw at most the first 30 s, so rows are the clip [0, 30) of the file.
    A sentence has the span that most annotators chose (the earliest among equals); all of them are in `meta`.
    """
    for split in ("train", "val", "test"):
        if found := source.part(split, f"{split}_data.json"):
            path = found[0]
            described: dict[str, list[tuple[str, dict[str, Any]]]] = {}
            for position, entry in enumerate(listed(str(path), read_json(path)), start=1):
                where = f"{path}, entry {position}"
                (video,) = fields(where, entry, "video")
                described.setdefault(stripped(where, video), []).append((where, entry))
            list_path = source.find(f"{split}_list.txt")
            ids = dict.fromkeys(described, str(path)) if list_path is None else read_list(list_path)
            for id in described.keys() - ids.keys():
                source.note(f"video is not in {split}_list.txt; left out", id)
            for id, where in ids.items():
                if id not in described:
                    raise DataError(f"{where}: {id!r} has no description in {path.name}")
                _didemo_row(rows, split, id, described[id])


def _didemo_row(rows: Collector, split: str, id: str, entries: list[tuple[str, dict[str, Any]]]) -> None:
    sentences, annotated = [], []
    for where, entry in entries:
        text, times = fields(where, entry, "description", "times")
        spans = [tuple(int(number(where, n)) for n in listed(where, span, 2)) for span in listed(where, times)]
        if not spans:
            raise DataError(f"{where}: no annotator marked a time")
        counts = Counter(spans)
        first, last = min(counts, key=lambda span: (-counts[span], span))
        sentences.append(rows.sentence(where, text, first * DIDEMO_SEGMENT, (last + 1) * DIDEMO_SEGMENT))
        annotated.append([list(span) for span in spans])
    where = entries[0][0]
    paragraph = located(where, Caption, " ".join(s.text for s in sentences), tuple(sentences))
    clip = (0.0, 6 * DIDEMO_SEGMENT)
    rows.add(where, id=id, split=split, captions=[paragraph], clip=clip, meta={"annotated_segments": annotated})


def lsmdc(source: Source, rows: Collector) -> None:
    """LSMDC 2016 (Rohrbach et al.): clips of films, a sentence each; 101,079 / 7,408 / 1,000 clips.

    Tab-separated, no quotes: clip, start and end aligned, start and end extracted, sentence. Train:
    `LSMDC16_annos_training.csv`; val: `LSMDC16_annos_val.csv`; test: `LSMDC16_challenge_1000_publictect.csv`. A clip
    that stands in several lines has several captions. Clips are files of their own; `meta` has the times in the film.
    """
    files = {"train": "annos_training", "val": "annos_val", "test": "challenge_1000_publictect"}
    for split, name in files.items():
        if found := source.part(split, f"LSMDC16_{name}.csv"):
            clips: dict[str, list[tuple[str, list[str]]]] = {}
            for where, cells in read_table(found[0], width=6, delimiter="\t"):
                clips.setdefault(cells[0], []).append((where, cells))
            for id, lines in clips.items():
                where, cells = lines[0]
                captions = [captioned(place, line[5])[0] for place, line in lines]
                if len({caption.text for caption in captions}) < len(captions):
                    source.note("clip has the same sentence more than once; all kept", id)
                film = id[: -len("_00.00.00.000-00.00.00.000")]
                meta = {"aligned": cells[1:3], "extracted": cells[3:5]}
                rows.add(where, id=id, split=split, captions=captions, origin=film, meta=meta)


def vatex(source: Source, rows: Collector) -> None:
    """VATEX (Wang et al., ICCV 2019), English: ten captions a clip; 25,991 / 1,500 / 1,500 (Chen et al., CVPR 2020).

    The publishers' `vatex_training_v1.0.json` and `vatex_validation_v1.0.json` (a list of `videoID` and `enCap`), and
    `train_list.txt`, `val_list.txt`, `test_list.txt`: the 3,000 validation clips are halved into val and test.
    """
    captions: dict[str, list[str]] = {}
    for path in source.find_all("vatex_*.json") or [source.need("vatex_training_v1.0.json")]:
        for position, entry in enumerate(listed(str(path), read_json(path)), start=1):
            where = f"{path}, entry {position}"
            id, texts = fields(where, entry, "videoID", "enCap")
            if id in captions:
                raise DataError(f"{where}: {id!r} has captions already")
            captions[id] = [stripped(where, text) for text in listed(where, texts)]
    for split in ("train", "val", "test"):
        if found := source.part(split, f"{split}_list.txt"):
            _add_listed(rows, split, read_list(found[0]), captions)
