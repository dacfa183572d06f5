"""Readers of sets that ask: VideoCon (entailment), SSv2 as VideoCon has it, NExT-QA, ATP-Hard, How2QA, LVU.

A row's captions are what is true of the video. What is false stands in `meta`: `negatives` beside a true caption, or
`options` with `answer`, the place of the right one counted from 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mova.data.readers.annotations import (
    Collector,
    Source,
    captioned,
    fields,
    number,
    read_csv,
    read_json,
    read_table,
    stripped,
)
from mova.errors import DataError

_PROMPTED = re.compile(r'description: "(?P<text>.+)"\?\s*AI:\s*', re.DOTALL)
_SPAN = re.compile(r"\[(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)\]")


def unprompted(caption: str) -> str:
    """The description inside VideoCon's prompt (`... description: "TEXT"? AI:`), or the caption as it is."""
    found = _PROMPTED.search(caption)
    return found["text"] if found else caption


def videocon_llm(source: Source, rows: Collector) -> None:
    """VideoCon's LLM part (Bansal et al., CVPR 2024): `videocon_llm_entailment.csv`, a row a line.

    A caption that is true, one in `negatives` that is not, and which of the seven misalignments it is. Splits: stated.
    """
    path = source.need("videocon_llm_entailment.csv")
    names = ("source", "videopath", "caption", "neg_caption", "split", "misalignment", "youtube_key")
    for count, (where, row) in enumerate(read_csv(path, *names), start=1):
        if source.wants(row["split"]):
            negative = {"text": stripped(where, row["neg_caption"]), "misalignment": row["misalignment"]}
            meta = {"negatives": [negative], "source_set": row["source"]}
            captions = captioned(where, row["caption"])
            split, origin = row["split"], row["youtube_key"].strip() or None
            id, video = f"llm-{count:06d}", row["videopath"]
            rows.add(where, id=id, split=split, captions=captions, video=video, origin=origin, meta=meta)


def videocon_human(source: Source, rows: Collector) -> None:
    """VideoCon-Human: `videocon_human.csv`; true and false captions by people, of ActivityNet validation videos."""
    _videocon_human(source, rows, hard_only=False)


def videocon_human_hard(source: Source, rows: Collector) -> None:
    """VideoCon-Human-Hard: those lines of VideoCon-Human that are marked `hard`."""
    _videocon_human(source, rows, hard_only=True)


def _videocon_human(source: Source, rows: Collector, *, hard_only: bool) -> None:
    if not source.wants("test"):
        return
    path = source.need("videocon_human.csv")
    names = ("video_url", "caption", "neg_caption", "nle", "hard")
    for count, (where, row) in enumerate(read_csv(path, *names), start=1):
        hard = _truth(where, row["hard"])
        if hard or not hard_only:
            negative = {"text": stripped(where, row["neg_caption"]), "explanation": row["nle"]}
            video = row["video_url"].split("?")[0].rstrip("/").rsplit("/", 1)[-1]
            captions, id = captioned(where, row["caption"]), f"human-{count:04d}"
            rows.add(
                where, id=id, split="test", captions=captions, video=video, meta={"negatives": [negative], "hard": hard}
            )


def _truth(where: str, text: str) -> bool:
    known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    if text.strip().lower() not in known:
        raise DataError(f"{where}: needs True or False, not {text!r}")
    return known[text.strip().lower()]


def ssv2_temporal(source: Source, rows: Collector) -> None:
    """SSv2-Temporal in VideoCon's form: `eval_ssv2_temporal.csv`; 216 videos, 18 actions, every pair of them."""
    _ssv2(source, rows, "eval_ssv2_temporal.csv")


def ssv2_events(source: Source, rows: Collector) -> None:
    """SSv2-Events in VideoCon's form: `eval_ssv2_events.csv`; 588 videos, 49 actions, every pair of them."""
    _ssv2(source, rows, "eval_ssv2_events.csv")


def _ssv2(source: Source, rows: Collector, name: str) -> None:
    """A row a video; its caption is the action that matches, taken out of the chat prompt; the rest are negatives."""
    if not source.wants("test"):
        return
    texts: dict[str, dict[bool, list[str]]] = {}
    places: dict[str, str] = {}
    for where, row in read_csv(source.need(name), "videopath", "caption", "match"):
        text = stripped(where, unprompted(row["caption"]))
        video = row["videopath"]
        places.setdefault(video, where)
        answers = texts.setdefault(video, {True: [], False: []})
        if text in answers[True] + answers[False]:
            raise DataError(f"{where}: {video} and {text!r} stand together already")
        answers[_truth(where, row["match"])].append(text)
    actions = {text for answers in texts.values() for text in answers[True] + answers[False]}
    for video, answers in texts.items():
        where = places[video]
        if len(answers[True]) + len(answers[False]) < len(actions):
            raise DataError(f"{where}: {video} is not paired with all {len(actions)} actions")
        meta = {"negatives": [{"text": text} for text in answers[False]]}
        id = video.rsplit("/", 1)[-1].rpartition(".")[0] or video
        rows.add(where, id=id, split="test", captions=captioned(where, *answers[True]), video=id, meta=meta)


def nextqa(source: Source, rows: Collector) -> None:
    """NExT-QA (Xiao et al., CVPR 2021), multiple choice: `train.csv`, `val.csv`, `test.csv`; a row a question.

    The caption is the right answer as it stands; `meta` holds question, type and the five options. With
    `map_vid_vidorID.json` a video has its place in VidOR's folders.
    """
    for split in ("train", "val", "test"):
        if found := source.part(split, f"{split}.csv"):
            _questions(source, rows, split, found[0])


def atp_hard(source: Source, rows: Collector) -> None:
    """ATP-Hard (Buch et al., CVPR 2022): `nextqa-atphard.csv`, 2,269 questions of NExT-QA's validation part."""
    if source.wants("test"):
        _questions(source, rows, "test", source.need("nextqa-atphard.csv"))


def _questions(source: Source, rows: Collector, split: str, path: Path) -> None:
    places = _vidor_places(source)
    for where, row in read_csv(path, "video", "question", "answer", "qid", "type", *_numbered("a")):
        options = [row[name] for name in _numbered("a")]
        question = _question(source, where, row["question"], options, row["answer"], type=row["type"])
        video = _vidor_place(where, row["video"], places)
        question.add(rows, id=f"{row['video']}_{row['qid']}", split=split, video=video)


def atp_hard_statements(source: Source, rows: Collector) -> None:
    """ATP-Hard's options as VideoCon's statements: `nextqa-atphard-statements.csv`, 1,846 of the questions.

    The file has no question numbers; `id` is the video and the place in the file.
    """
    if source.wants("test"):
        places = _vidor_places(source)
        path = source.need("nextqa-atphard-statements.csv")
        for count, (where, row) in enumerate(read_csv(path, "vid_id", "question", "answer", *_numbered("s")), start=1):
            options = [row[name] for name in _numbered("s")]
            question = _question(source, where, row["question"], options, row["answer"])
            video = _vidor_place(where, row["vid_id"], places)
            question.add(rows, id=f"{row['vid_id']}_{count:04d}", split="test", video=video)


def _numbered(letter: str) -> tuple[str, ...]:
    return tuple(f"{letter}{i}" for i in range(5))


def _vidor_places(source: Source) -> dict[str, str] | None:
    """Video -> folder and video, of `map_vid_vidorID.json`; None where it is not there."""
    path = source.find("map_vid_vidorID.json")
    if path is None:
        return None
    places = read_json(path)
    return dict(zip(places, fields(str(path), places, *places), strict=True))


def _vidor_place(where: str, video: str, places: dict[str, str] | None) -> str:
    if places is not None and video not in places:
        raise DataError(f"{where}: video {video!r} is not in map_vid_vidorID.json")
    return video if places is None else places[video]


@dataclass(frozen=True)
class _Question:
    """A multiple-choice question at a place of a file; `answer` counts from 0."""

    where: str
    text: str
    options: tuple[str, ...]
    answer: int
    more: Mapping[str, str]

    def add(self, rows: Collector, *, id: str, split: str, video: str, clip: tuple[float, float] | None = None) -> None:
        """Add its row: the right option is the caption."""
        meta = {"question": self.text, "options": list(self.options), "answer": self.answer, **self.more}
        captions = captioned(self.where, self.options[self.answer])
        rows.add(self.where, id=id, split=split, captions=captions, video=video, clip=clip, meta=meta)


def _question(source: Source, where: str, text: str, options: Sequence[str], answer: str, **more: str) -> _Question:
    texts = tuple(stripped(where, option) for option in options)
    right = number(where, answer)
    if right not in range(len(texts)):
        raise DataError(f"{where}: the answer must be 0 to {len(texts) - 1}, not {answer!r}")
    if len(set(texts)) < len(texts):
        source.note("two options of a question are the same; kept", where)
    return _Question(where, stripped(where, text), texts, int(right), more)


def how2qa(source: Source, rows: Collector) -> None:
    """How2QA (Li et al., HERO, EMNLP 2020): clip of a YouTube file, three wrong options, question, right option.

    `how2QA_train_release.csv`, `how2QA_val_release.csv`, `how2QA_test_public_release.csv`, without a header. Options
    keep the file's order with the right one last: `answer` is always 3, so a model must not see their order.
    """
    files = {"train": "train_release", "val": "val_release", "test": "test_public_release"}
    for split, name in files.items():
        if found := source.part(split, f"how2QA_{name}.csv"):
            for count, (where, cells) in enumerate(read_table(found[0], width=7), start=1):
                span = _SPAN.fullmatch(cells[1].strip())
                if span is None:
                    raise DataError(f"{where}: needs a clip like [67.5:95.1], not {cells[1]!r}")
                question = _question(source, where, cells[5], [*cells[2:5], cells[6]], "3")
                clip = (float(span[1]), float(span[2]))
                question.add(rows, id=f"{split}-{count:05d}", split=split, video=cells[0], clip=clip)


def lvu(source: Source, rows: Collector) -> None:
    """LVU (Wu and Krähenbühl, CVPR 2021): `lvu_1.0/TASK/{train,val,test}.csv`, a row a video and task.

    Cells are parted by blanks, after a header; the video is the last but one. Label tasks begin with number and name,
    `like_ratio` with likes and dislikes, `view_count` with a count. Rows have no caption; `meta` holds task and label.
    """
    paths = [path for path in source.find_all("*.csv") if path.stem in ("train", "val", "test")]
    if not paths:
        raise DataError(f"{source.path}: holds no TASK/train.csv, val.csv or test.csv of LVU")
    for path in paths:
        task, split = path.parent.name, path.stem
        if source.wants(split):
            for where, cells in list(read_table(path, delimiter="\t"))[1:]:
                words = " ".join(cells).split()
                if len(words) < 3:
                    raise DataError(f"{where}: needs a label, a video and one more cell, not {' '.join(words)!r}")
                head, video = words[:-2], words[-2]
                if task in ("like_ratio", "view_count"):
                    label: dict[str, object] = {"values": [number(where, word) for word in head]}
                else:
                    label = {"label": int(number(where, head[0])), "name": " ".join(head[1:])}
                rows.add(
                    where, id=f"{task}/{video}", split=split, captions=(), video=video, meta={"task": task, **label}
                )
