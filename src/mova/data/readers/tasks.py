"""Readers of question data sets: VideoCon (entailment), SSv2 in VideoCon's format, NExT-QA, ATP-Hard, How2QA, LVU.

A row's captions are true of the video. False texts are in `meta`: `negatives` of a true caption, or `options` with
`answer`, the index of the correct option from 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mova.data.readers.annotations import (
    AnnotationSource,
    Collector,
    to_captions,
    to_entries,
    to_number,
    to_text,
    to_whole,
)
from mova.errors import DataError
from mova.utils.tables import is_missing_value, read_csv, read_json, read_table

_PROMPTED = re.compile(r'description: "(?P<text>.+)"\?\s*AI:\s*', re.DOTALL)
_SPAN = re.compile(r"\[(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)\]")


def strip_prompt(caption: str) -> str:
    """Return the description inside VideoCon's prompt, or the caption itself if it has no prompt.

    >>> strip_prompt('Human: Does this video entail the description: "A dog runs."? AI: ')
    'A dog runs.'
    """
    match = _PROMPTED.search(caption)
    return match["text"] if match else caption


def videocon_llm(source: AnnotationSource, rows: Collector) -> None:
    """VideoCon's LLM part (Bansal et al., CVPR 2024): `videocon_llm_entailment.csv`, one row per line.

    A true caption, one false caption in `negatives`, and its kind of the seven misalignments. Splits are in the file.
    If `videocon_llm_feedback.csv` is there, a negative has the `explanation` of its line there.
    """
    path = source.require("videocon_llm_entailment.csv")
    names = ("source", "videopath", "caption", "neg_caption", "split", "misalignment", "youtube_key")
    explanations = _explanations(source)
    found = set()
    for count, (where, row) in enumerate(read_csv(path, *names), start=1):
        if source.includes(row["split"]):
            negative = {"text": to_text(where, row["neg_caption"]), "misalignment": row["misalignment"]}
            key = _line_key(row)
            if key in explanations:
                found.add(key)
                negative["explanation"] = explanations[key]
            meta = {"negatives": [negative], "source_set": row["source"]}
            captions = to_captions(where, row["caption"])
            split, origin = row["split"], row["youtube_key"].strip() or None
            id, video = f"llm-{count:06d}", row["videopath"]
            rows.add(where, id=id, split=split, captions=captions, video=video, origin=origin, meta=meta)
    for key in sorted(explanations.keys() - found):
        source.note("explanation of a line that the entailment table does not have; left out", " / ".join(key[:3]))


def _explanations(source: AnnotationSource) -> dict[tuple[str, ...], str]:
    """Return line -> explanation of VideoCon's feedback table, of the splits that are read; empty without the table.

    Of several explanations of one line, the first is kept, and the others are noted.
    """
    path = source.find("videocon_llm_feedback.csv")
    if path is None:
        return {}
    found: dict[tuple[str, ...], str] = {}
    for where, row in read_csv(path, "videopath", "caption", "neg_caption", "nle", "split"):
        if source.includes(row["split"]):
            key, explanation = _line_key(row), row["nle"].strip()
            if not explanation or is_missing_value(explanation):
                source.note("explanation is missing; its line has none", where)
            elif found.setdefault(key, explanation) != explanation:
                source.note("another explanation of the same captions; the first is kept", where)
    return found


def _line_key(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[name].strip() for name in ("videopath", "caption", "neg_caption", "split"))


def videocon_human(source: AnnotationSource, rows: Collector) -> None:
    """VideoCon-Human: `videocon_human.csv`; true and false captions of ActivityNet validation videos, by people."""
    _videocon_human(source, rows, hard_only=False)


def videocon_human_hard(source: AnnotationSource, rows: Collector) -> None:
    """VideoCon-Human-Hard: the lines of VideoCon-Human that are marked `hard`."""
    _videocon_human(source, rows, hard_only=True)


def _videocon_human(source: AnnotationSource, rows: Collector, *, hard_only: bool) -> None:
    if not source.includes("test"):
        return
    path = source.require("videocon_human.csv")
    names = ("video_url", "caption", "neg_caption", "nle", "hard")
    for count, (where, row) in enumerate(read_csv(path, *names), start=1):
        hard = _to_bool(where, row["hard"])
        if hard or not hard_only:
            negative = {"text": to_text(where, row["neg_caption"]), "explanation": row["nle"]}
            video = row["video_url"].split("?")[0].rstrip("/").rsplit("/", 1)[-1]
            captions, id = to_captions(where, row["caption"]), f"human-{count:04d}"
            rows.add(
                where, id=id, split="test", captions=captions, video=video, meta={"negatives": [negative], "hard": hard}
            )


def _to_bool(where: str, text: str) -> bool:
    known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    if text.strip().lower() not in known:
        raise DataError(f"{where}: expected True or False, not {text!r}")
    return known[text.strip().lower()]


def ssv2_temporal(source: AnnotationSource, rows: Collector) -> None:
    """SSv2-Temporal in VideoCon's format: `eval_ssv2_temporal.csv`; every pair of 216 videos and 18 actions."""
    _ssv2(source, rows, "eval_ssv2_temporal.csv")


def ssv2_events(source: AnnotationSource, rows: Collector) -> None:
    """SSv2-Events in VideoCon's format: `eval_ssv2_events.csv`; every pair of 588 videos and 49 actions."""
    _ssv2(source, rows, "eval_ssv2_events.csv")


def _ssv2(source: AnnotationSource, rows: Collector, name: str) -> None:
    """Add one row per video: the matching action, without the chat prompt, is the caption; the others are negatives."""
    if not source.includes("test"):
        return
    texts: dict[str, dict[bool, list[str]]] = {}
    locations: dict[str, str] = {}
    for where, row in read_csv(source.require(name), "videopath", "caption", "match"):
        text = to_text(where, strip_prompt(row["caption"]))
        video = row["videopath"]
        locations.setdefault(video, where)
        answers = texts.setdefault(video, {True: [], False: []})
        if text in answers[True] + answers[False]:
            raise DataError(f"{where}: duplicate pair of {video} and {text!r}")
        answers[_to_bool(where, row["match"])].append(text)
    actions = {text for answers in texts.values() for text in answers[True] + answers[False]}
    for video, answers in texts.items():
        where = locations[video]
        if len(answers[True]) + len(answers[False]) < len(actions):
            raise DataError(f"{where}: {video} is not paired with all {len(actions)} actions")
        meta = {"negatives": [{"text": text} for text in answers[False]]}
        id = video.rsplit("/", 1)[-1].rpartition(".")[0] or video
        rows.add(where, id=id, split="test", captions=to_captions(where, *answers[True]), video=id, meta=meta)


def nextqa(source: AnnotationSource, rows: Collector) -> None:
    """NExT-QA (Xiao et al., CVPR 2021), multiple choice: `train.csv`, `val.csv`, `test.csv`; one row per question.

    The caption is the correct answer; `meta` has question, type and the five options. With `map_vid_vidorID.json`, the
    video is its path in VidOR's folders.
    """
    for split in ("train", "val", "test"):
        if paths := source.split_files(split, f"{split}.csv"):
            _questions(source, rows, split, paths[0])


def atp_hard(source: AnnotationSource, rows: Collector) -> None:
    """ATP-Hard (Buch et al., CVPR 2022): `nextqa-atphard.csv`, 2,269 questions of NExT-QA's validation split."""
    if source.includes("test"):
        _questions(source, rows, "test", source.require("nextqa-atphard.csv"))


def _questions(source: AnnotationSource, rows: Collector, split: str, path: Path) -> None:
    paths = _vidor_paths(source)
    for where, row in read_csv(path, "video", "question", "answer", "qid", "type", *_numbered("a")):
        options = [row[name] for name in _numbered("a")]
        question = _question(source, where, row["question"], options, row["answer"], type=row["type"])
        video = _vidor_path(where, row["video"], paths)
        question.add(rows, id=f"{row['video']}_{row['qid']}", split=split, video=video)


def atp_hard_statements(source: AnnotationSource, rows: Collector) -> None:
    """ATP-Hard's options as statements, from VideoCon: `nextqa-atphard-statements.csv`, 1,846 of the questions.

    The file has no question numbers; `id` is the video and the position in the file.
    """
    if source.includes("test"):
        paths = _vidor_paths(source)
        path = source.require("nextqa-atphard-statements.csv")
        for count, (where, row) in enumerate(read_csv(path, "vid_id", "question", "answer", *_numbered("s")), start=1):
            options = [row[name] for name in _numbered("s")]
            question = _question(source, where, row["question"], options, row["answer"])
            video = _vidor_path(where, row["vid_id"], paths)
            question.add(rows, id=f"{row['vid_id']}_{count:04d}", split="test", video=video)


def _numbered(letter: str) -> tuple[str, ...]:
    return tuple(f"{letter}{i}" for i in range(5))


def _vidor_paths(source: AnnotationSource) -> dict[str, str] | None:
    """Return video -> path in VidOR, from `map_vid_vidorID.json`; None if the file does not exist."""
    path = source.find("map_vid_vidorID.json")
    if path is None:
        return None
    entries = to_entries(str(path), read_json(path))
    return {video: to_text(f"{path}, entry {video!r}", stored) for video, stored in entries.items()}


def _vidor_path(where: str, video: str, paths: dict[str, str] | None) -> str:
    if paths is not None and video not in paths:
        raise DataError(f"{where}: video {video!r} is not in map_vid_vidorID.json")
    return video if paths is None else paths[video]


@dataclass(frozen=True)
class _Question:
    """A multiple-choice question.

    Attributes:
        where: location in the file, for error messages.
        text: the question.
        options: the options.
        answer: index of the correct option.
        extra: further metadata.
    """

    where: str
    text: str
    options: tuple[str, ...]
    answer: int
    extra: Mapping[str, str]

    def add(self, rows: Collector, *, id: str, split: str, video: str, clip: tuple[float, float] | None = None) -> None:
        """Add its row; the correct option is the caption."""
        meta = {"question": self.text, "options": list(self.options), "answer": self.answer, **self.extra}
        captions = to_captions(self.where, self.options[self.answer])
        rows.add(self.where, id=id, split=split, captions=captions, video=video, clip=clip, meta=meta)


def _question(
    source: AnnotationSource, where: str, text: str, options: Sequence[str], answer: str, **extra: str
) -> _Question:
    texts = tuple(to_text(where, option) for option in options)
    answer_index = to_number(where, answer)
    if answer_index not in range(len(texts)):
        raise DataError(f"{where}: the answer must be 0 to {len(texts) - 1}, not {answer!r}")
    if len(set(texts)) < len(texts):
        source.note("two options of a question are the same; kept", where)
    return _Question(where, to_text(where, text), texts, int(answer_index), extra)


def how2qa(source: AnnotationSource, rows: Collector) -> None:
    """How2QA (Li et al., HERO, EMNLP 2020): clip of a YouTube file, three wrong options, question, correct option.

    Files: `how2QA_train_release.csv`, `how2QA_val_release.csv`, `how2QA_test_public_release.csv`, without a header.
    Options keep the file's order, with the correct one last: `answer` is always 3, so hide the order from a model.
    """
    files = {"train": "train_release", "val": "val_release", "test": "test_public_release"}
    for split, name in files.items():
        if paths := source.split_files(split, f"how2QA_{name}.csv"):
            for count, (where, cells) in enumerate(read_table(paths[0], width=7), start=1):
                span = _SPAN.fullmatch(cells[1].strip())
                if span is None:
                    raise DataError(f"{where}: expected a clip such as [67.5:95.1], not {cells[1]!r}")
                question = _question(source, where, cells[5], [*cells[2:5], cells[6]], "3")
                clip = (float(span[1]), float(span[2]))
                question.add(rows, id=f"{split}-{count:05d}", split=split, video=cells[0], clip=clip)


def lvu(source: AnnotationSource, rows: Collector) -> None:
    """LVU (Wu and Krähenbühl, CVPR 2021): `lvu_1.0/TASK/{train,val,test}.csv`, one row per video and task.

    Cells are separated by blanks, after a header; the video is the second to last. Lines of label tasks begin with
    number and name, of `like_ratio` with likes and dislikes, of `view_count` with a count. Rows have no caption; `meta`
    has task and label.
    """
    paths = [path for path in source.find_all("*.csv") if path.stem in ("train", "val", "test")]
    if not paths:
        raise DataError(f"{source.path}: has no TASK/train.csv, val.csv or test.csv of LVU")
    for path in paths:
        task, split = path.parent.name, path.stem
        if source.includes(split):
            for where, cells in list(read_table(path, delimiter="\t"))[1:]:
                words = " ".join(cells).split()
                if len(words) < 3:
                    raise DataError(f"{where}: expected a label, a video and one more cell, not {' '.join(words)!r}")
                head, video = words[:-2], words[-2]
                if task in ("like_ratio", "view_count"):
                    label: dict[str, object] = {"values": [to_number(where, word) for word in head]}
                else:
                    label = {"label": to_whole(where, head[0]), "name": " ".join(head[1:])}
                rows.add(
                    where, id=f"{task}/{video}", split=split, captions=(), video=video, meta={"task": task, **label}
                )
