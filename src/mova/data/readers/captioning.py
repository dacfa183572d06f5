"""Readers of the standard retrieval sets: MSR-VTT, MSVD, DiDeMo, ActivityNet Captions, LSMDC, VATEX."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

from mova.data.manifest import Caption
from mova.data.readers.annotations import (
    AnnotationSource,
    Collector,
    get_fields,
    to_captions,
    to_entries,
    to_list,
    to_number,
    to_text,
    to_whole,
    with_location,
)
from mova.errors import DataError
from mova.utils.tables import read_csv, read_json, read_list, read_table
from mova.utils.text_files import PARSER_ERRORS, read_text

MSRVTT_CAPTIONS = "MSRVTT_data.json"
MSRVTT_FULL = {"train": range(6513), "val": range(6513, 7010), "test": range(7010, 10_000)}
"""Video numbers of MSR-VTT's original split: `video0` to `video6512` are train, and so on (Xu et al., CVPR 2016)."""
DIDEMO_SEGMENT = 5.0
"""Seconds per DiDeMo segment; annotators saw the first 30 s of a video as six segments."""
LSMDC_FILES = {"train": "annos_training", "val": "annos_val", "test": "challenge_1000_publictect"}
"""Split of LSMDC 2016 -> its file `LSMDC16_NAME.csv`, in the publishers' spelling."""


def msrvtt_1ka(source: AnnotationSource, rows: Collector) -> None:
    """MSR-VTT 1k-A (Yu et al., JSFusion, ECCV 2018): 9,000 train; 1,000 test with one chosen sentence each.

    Train: `MSRVTT_train.9k.csv` with all sentences of `MSRVTT_data.json` (about twenty per video), each a caption.
    Test: `MSRVTT_JSFUSION_test.csv` alone, one caption per video.
    """
    _msrvtt_listed(source, rows, "train", ("MSRVTT_train.9k.csv", "train_list_jsfusion.txt"))
    _msrvtt_jsfusion(source, rows)


def msrvtt_7k(source: AnnotationSource, rows: Collector) -> None:
    """MSR-VTT with the 7,010 training videos of Miech et al. (`MSRVTT_train.7k.csv`) and 1k-A's test."""
    _msrvtt_listed(source, rows, "train", ("MSRVTT_train.7k.csv",))
    _msrvtt_jsfusion(source, rows)


def msrvtt_1kb(source: AnnotationSource, rows: Collector) -> None:
    """MSR-VTT 1k-B (Miech et al., arXiv 1804.02516): 6,656 train, 1,000 test; every sentence is a caption.

    The lists are collaborative-experts' `train_list_miech.txt` and `test_list_miech.txt`.
    """
    _msrvtt_listed(source, rows, "train", ("train_list_miech.txt",))
    _msrvtt_listed(source, rows, "test", ("test_list_miech.txt",))


def msrvtt_full(source: AnnotationSource, rows: Collector) -> None:
    """MSR-VTT's original split: 6,513 train, 497 val, 2,990 test; every sentence is a caption."""
    for split, numbers in MSRVTT_FULL.items():
        if paths := source.split_files(split, MSRVTT_CAPTIONS):
            _add_rows(rows, split, {f"video{n}": f"{paths[0]}, split {split!r}" for n in numbers}, _msrvtt(paths[0]))


def _msrvtt_listed(source: AnnotationSource, rows: Collector, split: str, lists: tuple[str, ...]) -> None:
    if paths := source.split_files(split, lists, MSRVTT_CAPTIONS):
        _add_rows(rows, split, read_list(paths[0], header="video_id"), _msrvtt(paths[1]))


def _msrvtt_jsfusion(source: AnnotationSource, rows: Collector) -> None:
    if paths := source.split_files("test", ("MSRVTT_JSFUSION_test.csv", "milnce_msrvtt_test.csv")):
        for where, row in read_csv(paths[0], "key", "video_id", "sentence"):
            meta = {"key": row["key"]}
            captions = to_captions(where, row["sentence"])
            rows.add(where, id=row["video_id"], split="test", captions=captions, meta=meta)


def _msrvtt(path: Path) -> dict[str, list[str]]:
    """Return the sentences of every video of `MSRVTT_data.json`, in file order."""
    captions: dict[str, list[str]] = {}
    (sentences,) = get_fields(str(path), read_json(path), "sentences")
    for position, entry in enumerate(to_list(f"{path}, 'sentences'", sentences), start=1):
        where = f"{path}, sentence {position}"
        video, text = get_fields(where, entry, "video_id", "caption")
        captions.setdefault(to_text(where, video), []).append(to_text(where, text))
    return captions


def _add_rows(rows: Collector, split: str, ids: dict[str, str], captions: dict[str, list[str]]) -> None:
    """Add rows of the listed ids, in list order, each with all its captions."""
    for id, where in ids.items():
        if id not in captions:
            raise DataError(f"{where}: {id!r} has no caption in the caption file")
        rows.add(where, id=id, split=split, captions=to_captions(where, *captions[id]))


def msvd(source: AnnotationSource, rows: Collector) -> None:
    """MSVD (Chen and Dolan, ACL 2011): 1,200 / 100 / 670 videos with about forty captions each.

    Files: `train_list.txt`, `val_list.txt`, `test_list.txt`, and `raw-captions.pkl` (id -> lists of words; no code in
    the pickle is executed) or the publishers' `AllVideoDescriptions.txt` (`ID sentence`, `#` begins a comment).
    """
    captions: dict[str, list[str]] | None = None
    for split in ("train", "val", "test"):
        if paths := source.split_files(split, f"{split}_list.txt", ("raw-captions.pkl", "AllVideoDescriptions.txt")):
            if captions is None:
                captions = _msvd_pickled(paths[1]) if paths[1].suffix == ".pkl" else _msvd_lines(paths[1])
            _add_rows(rows, split, read_list(paths[0]), captions)


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, texts and numbers; rejects a pickle that refers to code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"it refers to {module_name}.{global_name}; only lists and texts are allowed")


def _msvd_pickled(path: Path) -> dict[str, list[str]]:
    try:
        with path.open("rb") as file:
            document = _PlainUnpickler(file, encoding="utf-8").load()
    except (pickle.UnpicklingError, *PARSER_ERRORS) as error:
        raise DataError(f"{path}: cannot be read as a pickle of captions: {error}") from error
    if not isinstance(document, dict):
        raise DataError(f"{path}: must be a dictionary from id to captions, not {type(document).__name__}")
    captions = {}
    for id, sentences in document.items():
        where = f"{path}, entry {id!r}"
        words = [to_list(where, sentence) for sentence in to_list(where, sentences)]
        captions[id] = [" ".join(to_text(where, word) for word in sentence) for sentence in words]
    return captions


def _msvd_lines(path: Path) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = {}
    for line_number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            id, _, text = line.strip().partition(" ")
            captions.setdefault(id, []).append(to_text(f"{path}, line {line_number}", text))
    return captions


def activitynet(source: AnnotationSource, rows: Collector) -> None:
    """ActivityNet Captions (Krishna et al., ICCV 2017), train and val_1: what CLIP4Clip and most others report.

    Files: `train.json`, `val_1.json`: id -> duration, timestamps (seconds), sentences. One caption per video: its
    sentences joined into a paragraph, with the times of each sentence.
    """
    _activitynet(source, rows, "train", "val_1")


def activitynet_val2(source: AnnotationSource, rows: Collector) -> None:
    """ActivityNet Captions, train and val_2: other annotators' paragraphs of 4,885 of the same validation videos."""
    _activitynet(source, rows, "train", "val_2")


def _activitynet(source: AnnotationSource, rows: Collector, *splits: str) -> None:
    for split in splits:
        if paths := source.split_files(split, f"{split}.json"):
            for id, entry in to_entries(str(paths[0]), read_json(paths[0])).items():
                where = f"{paths[0]}, entry {id!r}"
                duration, spans, texts = get_fields(where, entry, "duration", "timestamps", "sentences")
                spans = to_list(where, spans, len(to_list(where, texts)))
                sentences = tuple(
                    rows.sentence(where, text, *to_list(where, span, 2))
                    for text, span in zip(texts, spans, strict=True)
                )
                paragraph = with_location(where, Caption, " ".join(s.text for s in sentences), sentences)
                rows.add(where, id=id, split=split, captions=[paragraph], duration=to_number(where, duration))


def didemo(source: AnnotationSource, rows: Collector) -> None:
    """DiDeMo (Hendricks et al., ICCV 2017): one caption per video, all its descriptions joined in file order.

    Files: `train_data.json`, `val_data.json`, `test_data.json`; with `*_list.txt` (collaborative-experts) only listed
    videos are read, and the others are noted. Annotators saw at most the first 30 s, so rows are the clip [0, 30) of
    the file. A sentence has the span that most annotators chose (the earliest in a tie); all spans are in `meta`.
    """
    for split in ("train", "val", "test"):
        if paths := source.split_files(split, f"{split}_data.json"):
            path = paths[0]
            described: dict[str, list[tuple[str, dict[str, Any]]]] = {}
            for position, entry in enumerate(to_list(str(path), read_json(path)), start=1):
                where = f"{path}, entry {position}"
                (video,) = get_fields(where, entry, "video")
                described.setdefault(to_text(where, video), []).append((where, entry))
            list_path = source.find(f"{split}_list.txt")
            ids = dict.fromkeys(described, str(path)) if list_path is None else read_list(list_path)
            for id in described:
                if id not in ids:
                    source.note(f"video is not in {split}_list.txt; excluded", id)
            for id, where in ids.items():
                if id not in described:
                    raise DataError(f"{where}: {id!r} has no description in {path.name}")
                _didemo_row(rows, split, id, described[id])


def _didemo_row(rows: Collector, split: str, id: str, entries: list[tuple[str, dict[str, Any]]]) -> None:
    sentences, annotated = [], []
    for where, entry in entries:
        text, times = get_fields(where, entry, "description", "times")
        spans = [tuple(to_whole(where, n) for n in to_list(where, span, 2)) for span in to_list(where, times)]
        if not spans:
            raise DataError(f"{where}: no annotator marked any times")
        counts = Counter(spans)
        first, last = min(counts, key=lambda span: (-counts[span], span))
        sentences.append(rows.sentence(where, text, first * DIDEMO_SEGMENT, (last + 1) * DIDEMO_SEGMENT))
        annotated.append([list(span) for span in spans])
    where = entries[0][0]
    paragraph = with_location(where, Caption, " ".join(s.text for s in sentences), tuple(sentences))
    clip = (0.0, 6 * DIDEMO_SEGMENT)
    rows.add(where, id=id, split=split, captions=[paragraph], clip=clip, meta={"annotated_segments": annotated})


def lsmdc(source: AnnotationSource, rows: Collector) -> None:
    """LSMDC 2016 (Rohrbach et al.): clips of films with a sentence each; 101,079 / 7,408 / 1,000 clips.

    Tab-separated without quotes: clip, aligned start and end, extracted start and end, sentence. Train:
    `LSMDC16_annos_training.csv`; val: `LSMDC16_annos_val.csv`; test: `LSMDC16_challenge_1000_publictect.csv`. A clip
    with several lines has several captions. Each clip is a separate file; `meta` has its times in the film.
    """
    for split, name in LSMDC_FILES.items():
        if paths := source.split_files(split, f"LSMDC16_{name}.csv"):
            clips: dict[str, list[tuple[str, list[str]]]] = {}
            for where, cells in read_table(paths[0], width=6, delimiter="\t"):
                clips.setdefault(cells[0], []).append((where, cells))
            for id, lines in clips.items():
                where, cells = lines[0]
                captions = [to_captions(location, line[5])[0] for location, line in lines]
                if len({caption.text for caption in captions}) < len(captions):
                    source.note("clip has the same sentence more than once; all kept", id)
                film = id[: -len("_00.00.00.000-00.00.00.000")]
                meta = {"aligned": cells[1:3], "extracted": cells[3:5]}
                rows.add(where, id=id, split=split, captions=captions, origin=film, meta=meta)


def vatex(source: AnnotationSource, rows: Collector) -> None:
    """VATEX (Wang et al., ICCV 2019), English: ten captions per clip; 25,991 / 1,500 / 1,500 (Chen et al., CVPR 2020).

    Files: the publishers' `vatex_training_v1.0.json` and `vatex_validation_v1.0.json` (lists of `videoID` and `enCap`),
    and `train_list.txt`, `val_list.txt`, `test_list.txt`: the 3,000 validation clips are split into val and test.
    """
    captions: dict[str, list[str]] = {}
    for path in source.find_all("vatex_*.json") or [source.require("vatex_training_v1.0.json")]:
        for position, entry in enumerate(to_list(str(path), read_json(path)), start=1):
            where = f"{path}, entry {position}"
            id, texts = get_fields(where, entry, "videoID", "enCap")
            id = to_text(where, id)
            if id in captions:
                raise DataError(f"{where}: duplicate video {id!r}")
            captions[id] = [to_text(where, text) for text in to_list(where, texts)]
    for split in ("train", "val", "test"):
        if paths := source.split_files(split, f"{split}_list.txt"):
            _add_rows(rows, split, read_list(paths[0]), captions)
