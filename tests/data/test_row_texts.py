"""Texts of questions and actions: drawn by seed and epoch, and the strings that evaluation reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.data.dataset import Draw, Pair, PairDataset, collate
from mova.data.manifest import Caption, Row, read_manifest, write_manifest
from mova.data.row_texts import NOUN, class_text, option_texts
from mova.errors import UsageError
from mova.video.reader import FrameRule

RULE = FrameRule(frames=2, rule="linspace")
ACTIONS = (["opening a door", "running"], ["running"], ["drinking from a cup", "opening a door", "running"])


@pytest.fixture
def video(worlds_manifest: Path) -> Path:
    return worlds_manifest.parent / read_manifest(worlds_manifest)[0].video


def written(folder: Path, video: Path, *metas: dict[str, Any]) -> Path:
    rows = [
        Row(f"r{i}", str(video), None, "train", (Caption("A script."),), start=float(i), end=i + 2.0, meta=meta)
        for i, meta in enumerate(metas)
    ]
    return write_manifest(folder / "manifest.jsonl", rows)


def test_a_question_is_trained_with_its_answer(video: Path, tmp_path: Path) -> None:
    question = {"question": "Who runs?", "options": ["a cat", "a dog"], "answer": 1}
    manifest = written(tmp_path, video, question, {"label": "x"})
    item = PairDataset(manifest, split="train", sampling=RULE, captions="answer")[0]
    assert isinstance(item, Pair)
    assert (item.id, item.text, item.label, item.classes) == ("r0", "Who runs? a dog", -1, None)
    assert item.text == option_texts(read_manifest(manifest)[0])[1]
    statement = PairDataset(manifest, split="train", sampling=RULE, captions="answer", template="{option}")
    assert [len(statement), statement[0].text] == [1, "a dog"]  # type: ignore[union-attr]


def test_an_action_is_drawn_in_every_epoch_and_all_are_known(video: Path, tmp_path: Path) -> None:
    metas = [{"view": "first", "actions": [{"class": f"c{n}", "name": n} for n in names]} for names in ACTIONS]
    manifest = written(tmp_path, video, *metas, {"actions": []})
    dataset = PairDataset(manifest, split="train", sampling=RULE, captions="action", seed=1)
    assert len(dataset) == 3  # the row without an action has no text
    names = sorted({name for row in ACTIONS for name in row})
    drawn: dict[int, set[str]] = {i: set() for i in range(3)}
    for epoch in range(12):
        pairs = [dataset[Draw(i, epoch)] for i in range(3)]
        for i, pair in enumerate(pairs):
            assert isinstance(pair, Pair)
            assert pair.classes is not None
            assert pair.text == names[pair.label] == dataset[Draw(i, epoch)].text  # type: ignore[union-attr]
            assert [names[c] for c in np.flatnonzero(pair.classes)] == sorted(ACTIONS[i])
            drawn[i].add(pair.text)
    assert drawn == {i: set(row) for i, row in enumerate(ACTIONS)}
    batch = collate(pairs)
    assert batch.labels is not None
    assert batch.labels.tolist() == [pair.label for pair in pairs if isinstance(pair, Pair)]
    assert batch.classes is not None
    assert batch.classes.shape == (3, 3)
    templated = PairDataset(manifest, split="train", sampling=RULE, captions="action", template=NOUN)[1]
    assert isinstance(templated, Pair)
    assert templated.text == class_text("running") == "A video of a running."


def test_templates_that_do_not_fit_are_named(video: Path, tmp_path: Path) -> None:
    manifest = written(tmp_path, video, {"label": "x"})
    for captions, template, complaint in (
        ("action", "{option}", r"needs \{label\}"),
        ("answer", "{label}", r"needs \{option\}"),
        ("paragraph", "{label}", "omit the template"),
    ):
        with pytest.raises(UsageError, match=complaint):
            PairDataset(manifest, split="train", sampling=RULE, captions=captions, template=template)
