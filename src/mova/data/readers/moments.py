"""Readers of data sets with timed annotations: moments, steps, and narrations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mova.data.manifest import Caption, TimedSentence
from mova.data.readers.annotations import (
    AnnotationSource,
    Collector,
    get_fields,
    to_entries,
    to_list,
    to_number,
    to_text,
    with_location,
)
from mova.errors import DataError
from mova.utils.tables import read_csv, read_json, read_jsonl, read_table
from mova.utils.text_files import read_text

SYNOPGROUND_RATE = 3.0
"""Frames per second that SynopGround's times are counted in, where a line does not state `fps`."""
COIN_SPLITS = {"training": "train", "validation": "val", "testing": "test"}


def qvhighlights(source: AnnotationSource, rows: Collector) -> None:
    """QVHighlights (Lei et al., NeurIPS 2021): one row per query; `vid` is a cut file of at most 150 s.

    Files: `highlight_train_release.jsonl`, `highlight_val_release.jsonl`, `highlight_test_with_gt.jsonl` (or, without
    ground truth, `highlight_test_release.jsonl`). The caption is the query. A query may have several windows, so all of
    them are in `meta` (`windows`, seconds of the cut file), with `relevant_clip_ids` and `saliency_scores`. The
    caption's only sentence has times if there is exactly one window.
    """
    files = {
        "train": ("highlight_train_release.jsonl",),
        "val": ("highlight_val_release.jsonl",),
        "test": ("highlight_test_with_gt.jsonl", "highlight_test_release.jsonl"),
    }
    for split, names in files.items():
        if paths := source.split_files(split, names):
            for where, entry in read_jsonl(paths[0]):
                qid, query, video, duration = get_fields(where, entry, "qid", "query", "vid", "duration")
                text, video, duration = to_text(where, query), to_text(where, video), to_number(where, duration)
                listed = to_list(where, entry.get("relevant_windows") or [])
                windows = [_window(where, window, duration) for window in listed]
                span = windows[0] if len(windows) == 1 else [None, None]
                caption = with_location(where, Caption, text, (with_location(where, TimedSentence, text, *span),))
                truth = {name: entry[name] for name in ("relevant_clip_ids", "saliency_scores") if name in entry}
                meta = {"qid": qid, **({"windows": windows} if "relevant_windows" in entry else {}), **truth}
                rows.add(where, id=str(qid), split=split, captions=[caption], video=video, duration=duration, meta=meta)


def _window(where: str, window: Any, duration: float) -> list[float]:
    start, end = (to_number(where, value) for value in to_list(where, window, 2))
    if not 0 <= start < end <= duration:
        raise DataError(f"{where}: window [{start}, {end}) is not within [0, {duration})")
    return [start, end]


def charades_sta(source: AnnotationSource, rows: Collector) -> None:
    """Charades-STA (Gao et al., ICCV 2017): one row per video, one caption per query, with times.

    Files: `charades_sta_train.txt`, `charades_sta_test.txt`: `VIDEO START END##SENTENCE`. Durations come from
    `Charades_v1_train.csv` and `_test.csv`, if present. Many queries end after the stated duration; it is then set to
    unknown and noted.
    """
    durations: dict[str, float] = {}
    for path in source.find_all("Charades_v1_t*.csv"):
        durations |= {row["id"]: to_number(where, row["length"]) for where, row in read_csv(path, "id", "length")}
    for split in ("train", "test"):
        if paths := source.split_files(split, f"charades_sta_{split}.txt"):
            queries: dict[str, list[tuple[str, TimedSentence]]] = {}
            for where, cells in read_table(paths[0], delimiter="\t"):
                head, mark, text = "\t".join(cells).partition("##")
                words = head.split()
                if not mark or len(words) != 3:
                    raise DataError(f"{where}: expected VIDEO START END##SENTENCE, not {cells[0]!r:.80}")
                queries.setdefault(words[0], []).append((where, rows.sentence(where, text, *words[1:])))
            _add_queries(source, rows, split, queries, durations)


def _add_queries(
    source: AnnotationSource,
    rows: Collector,
    split: str,
    queries: dict[str, list[tuple[str, TimedSentence]]],
    durations: dict[str, float],
    meta: dict[str, Any] | None = None,
) -> None:
    """Add one row per video with one caption per query."""
    for id, sentences in queries.items():
        if len({sentence for _, sentence in sentences}) < len(sentences):
            source.note("video has the same query with the same times more than once; all kept", id)
        captions = [with_location(where, Caption, sentence.text, (sentence,)) for where, sentence in sentences]
        rows.add(sentences[0][0], id=id, split=split, captions=captions, duration=durations.get(id), meta=meta)


def tacos(source: AnnotationSource, rows: Collector) -> None:
    """TACoS (Regneri et al., TACL 2013) in 2D-TAN's format: one row per video, one caption per query; 75 / 27 / 25.

    Files: `train.json`, `val.json`, `test.json`: video -> timestamps in frames, fps, num_frames, sentences. Frames are
    converted to seconds by the stated rate.

    A video has about twenty descriptions, one after the other, each in temporal order. The files do not say where one
    ends: a new one begins where a sentence starts earlier than the one before it. `meta["paragraphs"]` has the number
    of sentences of each. For test, these are the paragraphs of PRVG (MCG-NJU/PRVG, data/TACoS/test.npy), which cuts
    them after every eighth sentence and leaves out twelve remaining single sentences.
    """
    for split in ("train", "val", "test"):
        if paths := source.split_files(split, f"{split}.json"):
            names = ("timestamps", "sentences", "fps", "num_frames")
            for id, entry in to_entries(str(paths[0]), read_json(paths[0])).items():
                where = f"{paths[0]}, entry {id!r}"
                spans, texts, fps, frames = get_fields(where, entry, *names)
                fps, frames = to_number(where, fps), to_number(where, frames)
                if fps <= 0:
                    raise DataError(f"{where}: 'fps' must be positive, not {fps}")
                spans = [to_list(where, span, 2) for span in to_list(where, spans, len(to_list(where, texts)))]
                sentences = [
                    (where, rows.sentence(where, text, to_number(where, start) / fps, to_number(where, end) / fps))
                    for text, (start, end) in zip(texts, spans, strict=True)
                ]
                starts = [to_number(where, start) for start, _ in spans]
                cuts = [i for i, (last, start) in enumerate(pairwise(starts), start=1) if start < last]
                sizes = [end - first for first, end in pairwise([0, *cuts, len(starts)])]
                meta = {"fps": fps, "paragraphs": sizes}
                _add_queries(source, rows, split, {id: sentences}, {id: frames / fps}, meta)


def synopground(source: AnnotationSource, rows: Collector) -> None:
    """SynopGround (Tan et al., ACM MM 2024): one row per episode, one caption per paragraph of its synopsis, in order.

    Files: `train.jsonl`, `val.jsonl`, `test.jsonl`, a line per paragraph: `qid` (drama-episode), `paragraph_number`,
    `query`, `duration` and `relevant_windows`, counted in frames (3 per second, or `fps`); `vid` names the video if it
    is not `qid`. Public code reads this form; the publishers' own files were not seen. A paragraph is the only sentence
    of its caption, with times if it has exactly one window; `meta["spans"]` has all of them by caption and sentence.
    """
    names = ("qid", "paragraph_number", "query", "duration", "relevant_windows")
    for split in ("train", "val", "test"):
        if paths := source.split_files(split, f"{split}.jsonl"):
            episodes: dict[str, list[tuple[float, str, Caption, list[list[float]], float]]] = {}
            for where, entry in read_jsonl(paths[0]):
                qid, number, query, length, listed = get_fields(where, entry, *names)
                rate = to_number(where, entry.get("fps", SYNOPGROUND_RATE))
                if rate <= 0:
                    raise DataError(f"{where}: 'fps' must be positive, not {rate}")
                text, frames = to_text(where, query), to_number(where, length)
                windows = [[t / rate for t in _window(where, pair, frames)] for pair in to_list(where, listed)]
                span = windows[0] if len(windows) == 1 else [None, None]
                caption = with_location(where, Caption, text, (with_location(where, TimedSentence, text, *span),))
                episode = to_text(where, entry.get("vid", qid))
                found = (to_number(where, number), where, caption, windows, frames / rate)
                episodes.setdefault(episode, []).append(found)
            for id, paragraphs in episodes.items():
                paragraphs.sort(key=lambda paragraph: paragraph[0])
                captions = [caption for _, _, caption, _, _ in paragraphs]
                meta = {"spans": [[windows] for _, _, _, windows, _ in paragraphs]}
                longest = max(seconds for *_, seconds in paragraphs)
                rows.add(paragraphs[0][1], id=id, split=split, captions=captions, duration=longest, meta=meta)


def coin(source: AnnotationSource, rows: Collector) -> None:
    """COIN (Tang et al., CVPR 2019): `COIN.json`; one row per video, its timed steps joined into one caption.

    Steps are phrases without full stops; the caption joins them with ". ". `meta` has the task, its number, step ids.
    """
    path = source.require("COIN.json")
    (database,) = get_fields(str(path), read_json(path), "database")
    for id, entry in to_entries(f"{path}, 'database'", database).items():
        where = f"{path}, entry {id!r}"
        names = ("duration", "class", "subset", "annotation", "recipe_type")
        duration, task, subset, steps, number_of_task = get_fields(where, entry, *names)
        if to_text(where, subset) not in COIN_SPLITS:
            raise DataError(f"{where}: 'subset' must be one of {', '.join(COIN_SPLITS)}, not {subset!r}")
        if not source.includes(COIN_SPLITS[subset]):
            continue
        sentences, step_ids = [], []
        for step in to_list(where, steps):
            step_id, segment, label = get_fields(where, step, "id", "segment", "label")
            sentences.append(rows.sentence(where, label, *to_list(where, segment, 2)))
            step_ids.append(step_id)
        if not sentences:
            source.note("video has no steps; kept without a caption", id)
        captions = _joined(where, sentences)
        meta = {"label": task, "recipe_type": number_of_task, "step_ids": step_ids}
        split, seconds = COIN_SPLITS[subset], to_number(where, duration)
        rows.add(where, id=id, split=split, captions=captions, duration=seconds, meta=meta)


def youcook2(source: AnnotationSource, rows: Collector) -> None:
    """YouCook2 (Zhou et al., AAAI 2018): `youcookii_annotations_trainval.json`; one row per video.

    The caption joins the sentences of its timed steps, which have no full stops, with ". ". `meta` has the number of
    the recipe and those of the steps.
    """
    path = source.require("youcookii_annotations_trainval.json")
    (database,) = get_fields(str(path), read_json(path), "database")
    splits = {"training": "train", "validation": "val"}
    for id, entry in to_entries(f"{path}, 'database'", database).items():
        where = f"{path}, entry {id!r}"
        duration, subset, steps, recipe = get_fields(where, entry, "duration", "subset", "annotations", "recipe_type")
        if to_text(where, subset) not in splits:
            raise DataError(f"{where}: 'subset' must be one of {', '.join(splits)}, not {subset!r}")
        if not source.includes(splits[subset]):
            continue
        sentences, step_ids = [], []
        for step in to_list(where, steps):
            step_id, segment, text = get_fields(where, step, "id", "segment", "sentence")
            sentences.append(rows.sentence(where, text, *to_list(where, segment, 2)))
            step_ids.append(step_id)
        seconds, meta = to_number(where, duration), {"recipe_type": recipe, "step_ids": step_ids}
        rows.add(where, id=id, split=splits[subset], captions=_joined(where, sentences), duration=seconds, meta=meta)


def htm_align(source: AnnotationSource, rows: Collector) -> None:
    """HTM-Align (Han et al., CVPR 2022): `htm_align.json`, 80 narrated videos of HowTo100M; one row per video, test.

    An entry is a list of [alignable, start, end, text]. The caption joins the sentences with ". ". A sentence that the
    video does not show (alignable 0) has no times: those in the file are of the speech. `meta["alignable"]` has one
    value per sentence.
    """
    if not source.includes("test"):
        return
    path = source.require("htm_align.json")
    for id, entry in to_entries(str(path), read_json(path)).items():
        where = f"{path}, entry {id!r}"
        sentences, alignable = [], []
        for line in to_list(where, entry):
            shown, start, end, text = to_list(where, line, 4)
            if to_number(where, shown) not in (0, 1):
                raise DataError(f"{where}: alignable must be 0 or 1, not {shown!r}")
            phrase = to_text(where, text).strip()
            plain = with_location(where, TimedSentence, phrase)
            sentences.append(rows.sentence(where, phrase, start, end) if shown else plain)
            alignable.append(int(shown))
        rows.add(where, id=id, split="test", captions=_joined(where, sentences), meta={"alignable": alignable})


def _joined(where: str, sentences: Sequence[TimedSentence]) -> list[Caption]:
    """Return phrases without full stops as one caption; none if there are no phrases."""
    text = ". ".join(sentence.text for sentence in sentences)
    return [with_location(where, Caption, text, tuple(sentences))] if sentences else []


def charades_ego(source: AnnotationSource, rows: Collector) -> None:
    """Charades-Ego (Sigurdsson et al., arXiv 1804.09626): one row per video, with its script as the caption.

    Files: `CharadesEgo_v1_train_only1st.csv`, `..._only3rd.csv` and the two of `test`, with the columns of Charades.
    `meta["view"]` is "first" or "third"; `meta["actions"]` has the actions `CLASS START END`, with the class names of
    `Charades_v1_classes.txt` if present.
    """
    class_path = source.find("Charades_v1_classes.txt")
    names: dict[str, str] = {}
    if class_path is None:
        source.note("actions have no names: missing file", "Charades_v1_classes.txt")
    else:
        lines = read_text(class_path).split("\n")
        names = dict(line.split(" ", 1) for line in lines if " " in line)
    for split in ("train", "test"):
        for view in ("1st", "3rd"):
            if paths := source.split_files(split, f"CharadesEgo_v1_{split}_only{view}.csv"):
                for where, row in read_csv(paths[0], "id", "script", "actions", "length"):
                    actions = [_action(where, text, names) for text in row["actions"].split(";") if text.strip()]
                    text = to_text(where, row["script"])
                    meta = {"view": {"1st": "first", "3rd": "third"}[view], "actions": actions}
                    caption, seconds = with_location(where, Caption, text), to_number(where, row["length"])
                    rows.add(where, id=row["id"], split=split, captions=[caption], duration=seconds, meta=meta)


def _action(where: str, text: str, names: dict[str, str]) -> dict[str, Any]:
    words = text.split()
    if len(words) != 3:
        raise DataError(f"{where}: expected an action CLASS START END, not {text!r}")
    if names and words[0] not in names:
        raise DataError(f"{where}: {words[0]!r} is not in Charades_v1_classes.txt")
    span = {"start": to_number(where, words[1]), "end": to_number(where, words[2])}
    return {"class": words[0], **({"name": names[words[0]]} if names else {}), **span}
