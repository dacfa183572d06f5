"""Where the clips of `mova eval` come from: parts of files, a feature store, and rows that a quarantine list names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.fakes import ColourEncoder, write_colours

from mova.data.dataset import FrameRule
from mova.data.manifest import Caption, Part, Row, write_manifest
from mova.eval.encoding import decode_rows
from mova.eval.protocols import find_protocol
from mova.eval.task_retrieval import evaluate_retrieval
from mova.eval.tasks import open_test
from mova.models.features import StoredEmbeddings, write_features


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("sources")
    rows = []
    for name in ("red", "cyan", "blue"):
        write_colours(found / f"{name}.mp4", [(name, 2)])
        rows.append(Row(name, f"{name}.mp4", 2.0, "test", (Caption(f"It is {name}.", ()),)))
    write_manifest(found / "manifest.jsonl", rows)
    return found


def test_a_row_of_parts_is_encoded_part_after_part(folder: Path) -> None:
    model = ColourEncoder()
    parts = (Part("cyan.mp4", 1.0, 2.0), Part("red.mp4", 0.0, 1.0))
    row = Row("both", "", 2.0, "test", (Caption("It is cyan. It is red.", ()),), parts=parts)
    found = decode_rows(model, folder)(row)
    singles = [decode_rows(model, folder)(Row(p.video, p.video, 2.0, "test", (), p.start, p.end)) for p in parts]
    assert np.allclose(found.frames, np.concatenate([one.frames for one in singles]), atol=1e-5)
    assert found.duration == pytest.approx(2.0)
    assert found.times[-1] < 2.0


def test_a_feature_store_gives_the_figures_of_decoding(folder: Path, tmp_path: Path) -> None:
    model = ColourEncoder()
    write_features(tmp_path / "store", model, folder / "manifest.jsonl", FrameRule(64, None, model.frame_rate))
    encode = StoredEmbeddings(tmp_path / "store", model)
    decoded, stored = (
        evaluate_retrieval(open_test(model, folder / "manifest.jsonl", encode=how), find_protocol("pairs"))
        for how in (None, encode)
    )
    assert {**decoded, "settings": None} == {**stored, "settings": None}


def test_rows_of_a_quarantine_list_are_excluded_and_told(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    entry = {"id": "red", "video": "red.mp4", "kind": "unreadable", "cause": "it does not decode"}
    bad.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    test = open_test(ColourEncoder(), folder / "manifest.jsonl", quarantine=bad)
    report = evaluate_retrieval(test, find_protocol("pairs"))
    assert (report["queries"], report["candidates"]) == (2, 2)
    assert [(row["id"], row["cause"]) for row in report["excluded"]] == [("red", "the quarantine list names it")]
