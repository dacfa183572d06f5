"""The model in the package means something: far above chance on held-out Worlds, through real mp4 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mova.data.manifest import read_manifest
from mova.eval.tasks.worlds import HELD_OUT, evaluate_worlds, factor_accuracy
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny, shipped_folder
from mova.search.index import Index
from mova.worlds.render import HELD_OUT_STYLE
from mova.worlds.writer import true_spans, write_worlds

SEED = 800_017
"""Neither training nor the model card uses it."""


@pytest.fixture(scope="module")
def model() -> WorldsTiny:
    loaded = load("mova-worlds-tiny")
    assert isinstance(loaded, WorldsTiny)
    return loaded


@pytest.mark.parametrize("name", ["worlds-tiny", "worlds-small"])
def test_the_shipped_models_are_small_and_have_a_card(name: str) -> None:
    folder = shipped_folder(f"mova-{name}")
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size <= 12 * 2**20
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"# mova-{name}\n" in card
    assert f"mova train {name}" in card
    assert HELD_OUT_STYLE in card


@pytest.mark.slow
def test_every_factor_is_known_in_training_styles(model: WorldsTiny) -> None:
    measures = evaluate_worlds(model, seed=99, styles=["flat"], clips=60, worlds=20)["flat"]
    floors = {"shape": 55, "colour": 90, "size": 90, "motion": 45, "place": 90, "count": 90, "relation": 85}
    for name, floor in floors.items():
        measured = next(value for measure, value in measures.items() if measure.startswith(f"{name} (of"))
        assert measured >= floor, (name, measured)
    assert measures["paragraph to video, 20, R@1"] >= 95
    assert measures["hard negative: flip (of 2)"] >= 85, "by the order term of the model's rule"
    assert measures["hard negative: hallucination (of 2)"] >= 95
    assert measures["sentence to frame, mAP"] >= 0.9


@pytest.mark.slow
def test_the_small_model_reads_shapes_and_motions_better() -> None:
    small = load("mova-worlds-small")
    assert isinstance(small, WorldsTiny)
    measures = factor_accuracy(small, ["flat"], np.random.default_rng([HELD_OUT + 99, 0]), 60)
    floors = {
        "shape": 80,
        "shape2": 70,
        "motion": 55,
        "colour": 90,
        "size": 90,
        "place": 90,
        "count": 90,
        "relation": 85,
    }
    for name, floor in floors.items():
        measured = next(value for measure, value in measures.items() if measure.startswith(f"{name} (of"))
        assert measured >= floor, (name, measured)


@pytest.mark.slow
def test_search_and_align_find_described_events_in_unseen_files(model: WorldsTiny, tmp_path: Path) -> None:
    manifest = write_worlds(tmp_path / "films", 4, 30.0, "outline", SEED)
    rows = read_manifest(manifest)
    index = Index(tmp_path / "index", model)
    index.add([tmp_path / "films"])
    hits, overlaps = [], []
    for row in rows:
        film = (tmp_path / "films" / row.video).resolve()
        for caption in row.captions[2:]:
            best = index.search(caption.text, k=1)[0]
            truth = true_spans(row, caption.text)
            hits.append(best.video == str(film) and any(min(best.end, s.end) > max(best.start, s.start) for s in truth))
        timeline = model.align(film, row.captions[0].text)
        for sentence in timeline.sentences:
            inside = np.any(
                [(timeline.times >= s.start) & (timeline.times < s.end) for s in true_spans(row, sentence.text)], axis=0
            )
            overlaps.append(sentence.relevance[inside].mean() - sentence.relevance[~inside].mean())
    assert np.mean(hits) >= 0.85
    assert np.mean(np.array(overlaps) > 0.1) >= 0.9
