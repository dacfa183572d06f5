"""Clips of `mova eval`: parts of files, a feature store, and quarantined rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mova.data.manifest import Caption, Row, Segment, TimedSentence, write_manifest
from mova.errors import UsageError
from mova.eval.protocols import find_protocol
from mova.eval.tasks.classification import evaluate_classify
from mova.eval.tasks.encoding import decode_rows
from mova.eval.tasks.moments import evaluate_moment_retrieval
from mova.eval.tasks.retrieval import evaluate_retrieval
from mova.eval.tasks.split import open_split
from mova.features.extract import write_features
from mova.features.stored import StoredEmbeddings
from mova.video.reader import FrameRule
from tests.support.fakes import ColourEncoder, write_colours


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    rows = []
    for name in ("red", "cyan", "blue"):
        write_colours(root / f"{name}.mp4", [(name, 2)])
        rows.append(Row(name, f"{name}.mp4", 2.0, "test", (Caption(f"It is {name}.", ()),)))
    write_manifest(root / "manifest.jsonl", rows)
    return root


def test_a_row_of_parts_is_encoded_part_after_part(folder: Path) -> None:
    model = ColourEncoder()
    parts = (Segment("cyan.mp4", 1.0, 2.0), Segment("red.mp4", 0.0, 1.0))
    row = Row("both", "", 2.0, "test", (Caption("It is cyan. It is red.", ()),), parts=parts)
    encoded = decode_rows(model, folder)(row)
    singles = [decode_rows(model, folder)(Row(p.video, p.video, 2.0, "test", (), p.start, p.end)) for p in parts]
    assert np.allclose(encoded.frames, np.concatenate([single.frames for single in singles]), atol=1e-5)
    assert encoded.duration == pytest.approx(2.0)
    assert encoded.times[-1] < 2.0


@pytest.mark.parametrize("context", [0, 1])
def test_parts_may_be_of_files_of_different_sizes(folder: Path, context: int) -> None:
    model = ColourEncoder()
    model.context = context
    write_colours(folder / "large.mp4", [("cyan", 2)], size=(64, 96))
    parts = (Segment("red.mp4", 0.0, 1.0), Segment("large.mp4", 1.0, 2.0), Segment("blue.mp4", 0.0, 1.0))
    row = Row("three", "", 3.0, "test", (Caption("It is red. It is cyan.", ()),), parts=parts)
    encoded = decode_rows(model, folder)(row)
    singles = [decode_rows(model, folder)(Row(p.video, p.video, 2.0, "test", (), p.start, p.end)) for p in parts]
    assert np.allclose(encoded.frames, np.concatenate([single.frames for single in singles]), atol=1e-5)
    assert encoded.times == pytest.approx(np.arange(12) / 4)


def test_rows_of_parts_are_counted_and_named_by_their_files(folder: Path) -> None:
    def parts_row(id: str, *files: str) -> Row:
        caption = Caption("It is red. It is cyan.", (TimedSentence("It is red.", 0.0, 1.0),))
        parts = tuple(Segment(f"{file}.mp4", 0.0, 1.0) for file in files)
        return Row(id, "", float(len(parts)), "test", (caption,), parts=parts)

    rows = [parts_row("a", "red", "cyan"), parts_row("b", "red", "blue"), parts_row("c", "red", "lost")]
    manifest = write_manifest(folder / "parts.jsonl", rows)
    report = evaluate_moment_retrieval(open_split(ColourEncoder(), manifest), find_protocol("moments")).to_json()
    assert (report["queries"], report["candidates"]) == (2, 2)
    assert [(row["id"], row["video"]) for row in report["excluded"]] == [("c", "red.mp4 + lost.mp4")]


def test_a_feature_store_gives_the_figures_of_decoding(folder: Path, tmp_path: Path) -> None:
    model = ColourEncoder()
    write_features(tmp_path / "store", model, folder / "manifest.jsonl", FrameRule(64, None, model.frame_rate))
    encode = StoredEmbeddings(tmp_path / "store", model)
    decoded, stored = (
        evaluate_retrieval(open_split(model, folder / "manifest.jsonl", encode=how), find_protocol("pairs")).to_json()
        for how in (None, encode)
    )
    assert {**decoded, "settings": None} == {**stored, "settings": None}


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A quarantine list that names the row "red"."""
    entry = {"id": "red", "video": "red.mp4", "kind": "unreadable", "cause": "it does not decode"}
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    return path


def test_rows_of_a_quarantine_list_are_excluded_and_reported(folder: Path, bad: Path) -> None:
    test = open_split(ColourEncoder(), folder / "manifest.jsonl", quarantine=bad)
    report = evaluate_retrieval(test, find_protocol("pairs")).to_json()
    assert (report["queries"], report["candidates"]) == (2, 2)
    assert [(row["id"], row["cause"]) for row in report["excluded"]] == [("red", "the quarantine list names it")]


def test_a_quarantined_row_makes_a_protocol_of_fixed_size_incomplete(folder: Path, bad: Path) -> None:
    three = replace(find_protocol("pairs"), name="three", texts=3, videos=3)
    test = open_split(ColourEncoder(), folder / "manifest.jsonl", quarantine=bad)
    report = evaluate_retrieval(test, three).to_json()
    assert (report["protocol"], report["queries"], report["candidates"]) == ("three-incomplete", 2, 2)
    test = open_split(ColourEncoder(), folder / "manifest.jsonl", quarantine=bad)
    with pytest.raises(UsageError, match="3 texts instead of 4"):
        evaluate_retrieval(test, replace(three, texts=4))


def test_a_task_is_measured_though_rows_of_another_one_are_quarantined(folder: Path, bad: Path) -> None:
    labels = {"red": ("way", "warm"), "cyan": ("scene", "cold"), "blue": ("scene", "dark")}
    rows = [Row(n, f"{n}.mp4", 2.0, "test", (), meta={"task": t, "label": label}) for n, (t, label) in labels.items()]
    manifest = write_manifest(folder / "tasks.jsonl", rows)
    test = open_split(ColourEncoder(), manifest, quarantine=bad)
    report = evaluate_classify(test, find_protocol("classify"), template="{label}", task="scene").to_json()
    assert report["excluded"] == []
    assert report["counts"]["scene"]["videos"] == 2
    rows.append(replace(rows[0], id="train", split="train", meta={"task": "way", "label": "cool"}))
    write_manifest(manifest, rows)
    every = evaluate_classify(
        open_split(ColourEncoder(), manifest, "test", quarantine=bad), find_protocol("classify")
    ).to_json()
    assert list(every["figures"]) == ["scene"]
    assert [row["id"] for row in every["excluded"]] == ["red"]
