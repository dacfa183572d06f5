"""`mova eval` with a video LLM: ranking by log odds, unsupported tasks, six tests in one report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mova.data.manifest import Caption, Row, read_manifest, write_manifest
from mova.errors import DataError, UsageError
from mova.eval.tasks.synvita_suite import TESTS, evaluate_synvita
from mova.models.video_llm.model import VideoLLM
from tests.support.tiny_videollms import build

ACTIONS = ["pushing a cup to the left", "lifting a bowl and dropping it", "closing a drawer"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("video_llava", tmp_path_factory.mktemp("video_llava"))


@pytest.fixture(scope="module")
def llm(base: Path) -> VideoLLM:
    return VideoLLM.from_pretrained(base, precision="fp32", device="cpu", max_frames=2)


@pytest.fixture(scope="module")
def rows(worlds_manifest: Path) -> list[Row]:
    source_rows = read_manifest(worlds_manifest)[:6]
    return [replace(row, video=str(worlds_manifest.parent / row.video), split="test", meta={}) for row in source_rows]


@pytest.fixture(scope="module")
def data(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All but VideoCon Human-Hard, each of a handful of clips."""
    folder = tmp_path_factory.mktemp("six")
    claims = [(Caption(f"{row.id} moves"), {"negatives": [{"text": f"{row.id} rests"}]}) for row in rows]
    pairs = [replace(row, captions=(caption,), meta=meta) for row, (caption, meta) in zip(rows, claims, strict=True)]
    write_manifest(folder / "videocon-llm.jsonl", pairs)
    (folder / "videocon-human").mkdir()
    write_manifest(folder / "videocon-human" / "manifest.jsonl", pairs[:3])
    crossed = []
    for i, row in enumerate(rows):
        wrong = [{"text": text} for text in ACTIONS if text != ACTIONS[i % 3]]
        crossed.append(replace(row, captions=(Caption(ACTIONS[i % 3]),), meta={"negatives": wrong}))
    write_manifest(folder / "ssv2-temporal.jsonl", crossed)
    write_manifest(folder / "ssv2-events.jsonl", crossed)
    question = {"question": "what is done?", "options": ACTIONS}
    kinds = ["CW", "CH", "TN"] * 2
    questions = [replace(row, meta={**question, "answer": i % 3, "type": kinds[i]}) for i, row in enumerate(rows)]
    write_manifest(folder / "atp-hard.jsonl", questions)
    return folder


def test_six_tests_are_in_one_report_and_a_missing_one_is_named(llm: VideoLLM, data: Path, rows: list[Row]) -> None:
    report = evaluate_synvita(llm, data, any_size=True).to_json()
    assert list(report["tests"]) == [test.name for test in TESTS]
    assert (report["complete"], report["missing"]) == (False, ["VideoCon Human-Hard"])
    assert "mova data convert videocon-human-hard" in report["tests"]["VideoCon Human-Hard"]["missing"]
    pairs = np.array([llm.log_odds(row.video, [f"{row.id} moves", f"{row.id} rests"]).tolist() for row in rows])
    auc = 100 * roc_auc_score([1, 0] * 6, pairs.reshape(-1))
    assert report["tests"]["VideoCon LLM"]["figures"]["AUC"]["value"] == pytest.approx(auc)
    scores = np.array([llm.log_odds(row.video, ACTIONS).tolist() for row in rows]).T
    right = np.array([[i % 3 == a for i in range(6)] for a in range(3)])
    precision = np.mean([average_precision_score(r, s) for r, s in zip(right, scores, strict=True)])
    assert report["tests"]["SSv2-Events"]["figures"]["mAP"]["value"] == pytest.approx(100 * precision)
    texts = [f"what is done? {action}" for action in ACTIONS]
    chosen = np.array([int(llm.log_odds(row.video, texts).argmax()) for row in rows])
    hits = chosen == np.arange(6) % 3
    figures = report["tests"]["ATP-Hard"]["figures"]
    assert figures["accuracy"]["value"] == pytest.approx(100 * hits.mean())
    assert figures["accuracy, temporal"]["value"] == pytest.approx(100 * hits[2::3].mean())
    assert figures["accuracy, causal"]["value"] == pytest.approx(100 * hits[[0, 1, 3, 4]].mean())


def test_sets_of_another_size_and_empty_folders_are_refused(llm: VideoLLM, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="VideoCon LLM has 6 rows and 12 texts, but the public set has about 27000"):
        evaluate_synvita(llm, data)
    for name, message in (
        ("videocon-human", "VideoCon Human.* is a different test: 3 texts instead of 570"),
        ("videocon-human-hard", "VideoCon Human-Hard.* is a different test: 3 texts instead of 290"),
        ("ssv2-temporal", "protocol ssv2-temporal .* is a different test: 3 texts instead of 18"),
        ("ssv2-events", "protocol ssv2-events .* is a different test: 3 texts instead of 49"),
        ("atp-hard", "protocol atp-hard .* is a different test: 6 texts instead of 2269"),
        ("atp-hard-statements", "protocol atp-hard-statements .* is a different test: 6 texts instead of 1846"),
    ):
        alone = tmp_path / name
        alone.mkdir()
        source = {"videocon-human-hard": "videocon-human", "atp-hard-statements": "atp-hard"}.get(name, name)
        whole = next(path for path in (data / f"{source}.jsonl", data / source / "manifest.jsonl") if path.is_file())
        shutil.copyfile(whole, alone / f"{name}.jsonl")
        with pytest.raises(UsageError, match=message):
            evaluate_synvita(llm, alone)
    counts = {"rows": [26_600, 13_400, 20_000], "fits": [True, True, False]}
    row = Row("a", "a.mp4", None, "test", (Caption("x"),), meta={"negatives": [{"text": "y"}]})
    for rows, fits in zip(*counts.values(), strict=True):
        if fits:
            TESTS[0].check_size([row] * rows)
        else:
            with pytest.raises(UsageError, match="20000 rows and 40000 texts"):
                TESTS[0].check_size([row] * rows)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="contains none of the tests"):
        evaluate_synvita(llm, tmp_path / "empty")


def test_the_command_prints_one_table_and_names_missing_tests(
    base: Path, data: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    words = ("eval", "synvita", "--model", base, "--data", data, "--any-size", "--max-frames", "2")
    code, table, beside = call(*words, "--out", tmp_path / "report.json")
    assert code == 0, beside
    assert "VideoCon Human-Hard is missing" in beside
    for name in ("VideoCon LLM", "SSv2-Temporal", "ATP-Hard", "missing", "accuracy, causal"):
        assert name in table
    assert json.loads((tmp_path / "report.json").read_text())["tests"]["SSv2-Temporal"]["figures"]["mAP"]
    code, _, beside = call("eval", "synvita", "--model", base, "--data", tmp_path)
    assert (code, "contains none of the tests" in beside) == (1, True)


def test_single_tasks_take_a_video_llm(
    base: Path, llm: VideoLLM, data: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    options = ("--model", base, "--max-frames", "2", "--json")
    code, stdout, stderr = call("eval", "entailment", "--manifest", data / "videocon-llm.jsonl", *options)
    assert code == 0, stderr
    settings = json.loads(stdout)["settings"]
    assert settings["form"] == "log odds"
    assert settings["question"] == llm.question.text
    assert settings["budget"] == {"frames": 8, "rule": "linspace", "max_frames": 2}
    code, stdout, stderr = call("eval", "retrieval", "--manifest", data / "videocon-human" / "manifest.jsonl", *options)
    assert code == 0, stderr
    assert json.loads(stdout)["t2v"]["R@5"] == 100.0
    for words, message in (
        (("entailment", "--fps", "2"), "--fps is for two-tower models only"),
        (("entailment", "--features", data), "--features is for two-tower models only"),
        (("moments",), "moments need frame vectors"),
    ):
        code, _, stderr = call("eval", *words, "--manifest", data / "videocon-llm.jsonl", "--model", base)
        assert (code, message in " ".join(stderr.split())) == (2, True), stderr
