"""Readers of sets with times: QVHighlights, Charades-STA, TACoS, COIN, Charades-Ego."""

from __future__ import annotations

from typing import Any

from mova.data.manifest import Caption, TimedSentence
from mova.data.readers.annotations import (
    Collector,
    Source,
    fields,
    listed,
    located,
    number,
    read_csv,
    read_json,
    read_jsonl,
    read_table,
    stripped,
)
from mova.errors import DataError

COIN_SPLITS = {"training": "train", "validation": "val", "testing": "test"}


def qvhighlights(source: Source, rows: Collector) -> None:
    """QVHighlights (Lei et al., NeurIPS 2021): a row a query; `vid` is a cut file of at most 150 s.

    `highlight_train_release.jsonl`, `highlight_val_release.jsonl`, `highlight_test_with_gt.jsonl` (or without truth:
    `highlight_test_release.jsonl`). The caption is the query. A query may have several windows, so `meta` holds them
    all (`windows`, seconds of the cut file) beside `relevant_clip_ids` and `saliency_scores`; the caption's one
    sentence has times where there is just one window.
    """
    files = {
        "train": ("highlight_train_release.jsonl",),
        "val": ("highlight_val_release.jsonl",),
        "test": ("highlight_test_with_gt.jsonl", "highlight_test_release.jsonl"),
    }
    for split, names in files.items():
        if found := source.part(split, names):
            for where, entry in read_jsonl(found[0]):
                qid, query, video, duration = fields(where, entry, "qid", "query", "vid", "duration")
                text, duration = stripped(where, query), number(where, duration)
                windows = [_window(where, window, duration) for window in entry.get("relevant_windows") or []]
                span = windows[0] if len(windows) == 1 else [None, None]
                caption = located(where, Caption, text, (located(where, TimedSentence, text, *span),))
                truth = {name: entry[name] for name in ("relevant_clip_ids", "saliency_scores") if name in entry}
                meta = {"qid": qid, **({"windows": windows} if "relevant_windows" in entry else {}), **truth}
                rows.add(where, id=str(qid), split=split, captions=[caption], video=video, duration=duration, meta=meta)


def _window(where: str, window: Any, duration: float) -> list[float]:
    start, end = (number(where, value) for value in listed(where, window, 2))
    if not 0 <= start < end <= duration:
        raise DataError(f"{where}: window [{start}, {end}) is not within [0, {duration})")
    return [start, end]


def charades_sta(source: Source, rows: Collector) -> None:
    """Charades-STA (Gao et al., ICCV 2017): a row a video, a caption a query with its seconds.

    `charades_sta_train.txt`, `charades_sta_test.txt`: `VIDEO START END##SENTENCE`. With `Charades_v1_train.csv` or
    `_test.csv` the duration is known; many queries end after it, and then it is left unknown and noted.
    """
    lengths: dict[str, float] = {}
    for path in source.find_all("Charades_v1_t*.csv"):
        lengths |= {row["id"]: number(where, row["length"]) for where, row in read_csv(path, "id", "length")}
    for split in ("train", "test"):
        if found := source.part(split, f"charades_sta_{split}.txt"):
            queries: dict[str, list[tuple[str, TimedSentence]]] = {}
            for where, cells in read_table(found[0], delimiter="\t"):
                head, mark, text = "\t".join(cells).partition("##")
                words = head.split()
                if not mark or len(words) != 3:
                    raise DataError(f"{where}: needs VIDEO START END##SENTENCE, not {cells[0]!r:.80}")
                queries.setdefault(words[0], []).append((where, rows.sentence(where, text, *words[1:])))
            _add_queries(source, rows, split, queries, lengths)


def _add_queries(
    source: Source,
    rows: Collector,
    split: str,
    queries: dict[str, list[tuple[str, TimedSentence]]],
    durations: dict[str, float],
    meta: dict[str, Any] | None = None,
) -> None:
    """A row a video, a caption a query."""
    for id, found in queries.items():
        if len({sentence for _, sentence in found}) < len(found):
            source.note("video has the same query with the same times more than once; all kept", id)
        captions = [located(where, Caption, sentence.text, (sentence,)) for where, sentence in found]
        rows.add(found[0][0], id=id, split=split, captions=captions, duration=durations.get(id), meta=meta)


def tacos(source: Source, rows: Collector) -> None:
    """TACoS (Regneri et al., TACL 2013) in 2D-TAN's form: a row a video, a caption a query; 75 / 27 / 25 videos.

    `train.json`, `val.json`, `test.json`: video -> timestamps in frames, fps, num_frames, sentences. Frames become
    seconds by the stated rate.
    """
    for split in ("train", "val", "test"):
        if found := source.part(split, f"{split}.json"):
            document = read_json(found[0])
            names = ("timestamps", "sentences", "fps", "num_frames")
            for id in document:
                where = f"{found[0]}, entry {id!r}"
                spans, texts, fps, frames = fields(where, document[id], *names)
                fps, frames = number(where, fps), number(where, frames)
                if fps <= 0:
                    raise DataError(f"{where}: needs a positive rate, not {fps}")
                spans = [listed(where, span, 2) for span in listed(where, spans, len(listed(where, texts)))]
                sentences = [
                    (where, rows.sentence(where, text, number(where, start) / fps, number(where, end) / fps))
                    for text, (start, end) in zip(texts, spans, strict=True)
                ]
                _add_queries(source, rows, split, {id: sentences}, {id: frames / fps}, {"fps": fps})


def coin(source: Source, rows: Collector) -> None:
    """COIN (Tang et al., CVPR 2019): `COIN.json`; a row a video, its steps with seconds joined into one caption.

    Steps are phrases without full stops; the caption joins them by ". ". `meta` holds the task, its number, step ids.
    """
    path = source.need("COIN.json")
    (database,) = fields(str(path), read_json(path), "database")
    for id, entry in zip(database, fields(f"{path}, 'database'", database, *database), strict=True):
        where = f"{path}, entry {id!r}"
        names = ("duration", "class", "subset", "annotation", "recipe_type")
        duration, task, subset, steps, number_of_task = fields(where, entry, *names)
        if subset not in COIN_SPLITS:
            raise DataError(f"{where}: 'subset' must be one of {', '.join(COIN_SPLITS)}, not {subset!r}")
        if not source.wants(COIN_SPLITS[subset]):
            continue
        sentences, step_ids = [], []
        for step in listed(where, steps):
            step_id, segment, label = fields(where, step, "id", "segment", "label")
            sentences.append(rows.sentence(where, label, *listed(where, segment, 2)))
            step_ids.append(step_id)
        if not sentences:
            source.note("video has no steps; kept without a caption", id)
        text = ". ".join(sentence.text for sentence in sentences)
        captions = [located(where, Caption, text, tuple(sentences))] if sentences else []
        meta = {"label": task, "recipe_type": number_of_task, "step_ids": step_ids}
        split, seconds = COIN_SPLITS[subset], number(where, duration)
        rows.add(where, id=id, split=split, captions=captions, duration=seconds, meta=meta)


def charades_ego(source: Source, rows: Collector) -> None:
    """Charades-Ego (Sigurdsson et al., arXiv 1804.09626): a row a video, its script as caption, actions in `meta`.

    `CharadesEgo_v1_train_only1st.csv`, `..._only3rd.csv` and the two of `test`, with the columns of Charades;
    `meta["view"]` says "first" or "third". `actions` are `CLASS START END`; `Charades_v1_classes.txt` names classes.
    """
    class_path = source.find("Charades_v1_classes.txt")
    names: dict[str, str] = {}
    if class_path is None:
        source.note("actions have no names, for want of a file", "Charades_v1_classes.txt")
    else:
        lines = class_path.read_text(encoding="utf-8").splitlines()
        names = dict(line.split(" ", 1) for line in lines if " " in line)
    for split in ("train", "test"):
        for view in ("1st", "3rd"):
            if found := source.part(split, f"CharadesEgo_v1_{split}_only{view}.csv"):
                for where, row in read_csv(found[0], "id", "script", "actions", "length"):
                    actions = [_action(where, text, names) for text in row["actions"].split(";") if text.strip()]
                    text = stripped(where, row["script"])
                    meta = {"view": {"1st": "first", "3rd": "third"}[view], "actions": actions}
                    caption, seconds = located(where, Caption, text), number(where, row["length"])
                    rows.add(where, id=row["id"], split=split, captions=[caption], duration=seconds, meta=meta)


def _action(where: str, text: str, names: dict[str, str]) -> dict[str, Any]:
    words = text.split()
    if len(words) != 3:
        raise DataError(f"{where}: an action needs CLASS START END, not {text!r}")
    if names and words[0] not in names:
        raise DataError(f"{where}: {words[0]!r} is not in Charades_v1_classes.txt")
    span = {"start": number(where, words[1]), "end": number(where, words[2])}
    return {"class": words[0], **({"name": names[words[0]]} if names else {}), **span}
