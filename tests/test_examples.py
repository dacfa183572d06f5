"""Every example script and the notebook's code run offline, and give the result that they describe."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import matplotlib
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"


def example(name: str) -> Any:
    return runpy.run_path(str(FOLDER / f"{name}.py"))["main"]


def test_every_example_has_a_test() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_file()) == [
        "align_caption.py",
        "evaluate_scores.py",
        "index_and_search.py",
        "tour.ipynb",
        "train_tiny.py",
    ]


@pytest.mark.slow
def test_index_and_search_finds_the_moment(worlds_manifest: Path, tmp_path: Path) -> None:
    row = json.loads(worlds_manifest.read_text(encoding="utf-8").splitlines()[0])
    query = row["captions"][0]["sentences"][0]["text"]
    moments = example("index_and_search")(worlds_manifest.parent, "mova-worlds-tiny", query, tmp_path / "index")
    assert len(moments) == 5
    assert moments == sorted(moments, key=lambda moment: -moment.score)


@pytest.mark.slow
def test_align_caption_writes_a_picture(tmp_path: Path) -> None:
    timeline = example("align_caption")(tmp_path, tmp_path / "timeline.png")
    assert timeline.sentences
    assert all(sentence.spans for sentence in timeline.sentences)
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_scores_counts_ties_by_expected_rank() -> None:
    exact, rounded = example("evaluate_scores")()
    assert exact["ties"] == 0
    assert rounded["ties"] > 0
    assert 0 < rounded["R@1"] < exact["R@1"] < 100


@pytest.mark.slow
def test_train_tiny_writes_a_model_that_loads(tmp_path: Path) -> None:
    assert 0 <= example("train_tiny")(tmp_path) <= 1
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads((FOLDER / "tour.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    namespace: dict[str, Any] = {}
    try:
        for cell in cells:
            exec(compile(cell, "tour.ipynb", "exec"), namespace)
    finally:
        matplotlib.use(backend)
    assert namespace["scores"].shape == (4, 4)
    assert "world-shaded" in capsys.readouterr().out
