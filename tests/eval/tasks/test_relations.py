"""Relations: pairs of moments that share a value, by the model's own similarity and by ones that need no training."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import mova
from mova.errors import DataError, UsageError
from mova.eval.tasks import relations
from mova.eval.tasks.relations import FULL, MODEL, SUBSPACE, evaluate_relations, read_gallery, worlds_gallery
from mova.video.writer import write_mp4
from tests.support.fakes import COLOURS, ColourEncoder


@pytest.fixture(scope="module")
def gallery() -> relations.Gallery:
    return worlds_gallery(mova.load("mova-worlds-tiny"), clips=150, concepts=("color", "place", "relation"))


def test_the_trained_basis_beats_similarities_without_training(gallery: relations.Gallery) -> None:
    results = evaluate_relations(mova.load("mova-worlds-tiny"), gallery)
    for concept in ("color", "place"):
        figures = results[concept]
        assert figures.trained
        assert figures.auc[MODEL] > max(figures.auc[FULL] + 10, 85)
    assert not results["relation"].trained
    assert results["relation"].auc[MODEL] == pytest.approx(results["relation"].auc[SUBSPACE])
    assert results["relation"].moments < 150, "moments with one object have no relation"


def test_the_figures_are_those_of_all_pairs_counted_one_by_one(gallery: relations.Gallery) -> None:
    figures = evaluate_relations(mova.load("mova-worlds-tiny"), gallery)["color"]
    unit = torch.nn.functional.normalize(gallery.frames - gallery.frames.mean(dim=0), dim=-1).numpy()
    same, different = [], []
    for i, j in itertools.combinations(range(len(unit)), 2):
        labels = gallery.labels["color"]
        (same if labels[i] == labels[j] else different).append(float(unit[i] @ unit[j]))
    wins = (np.array(same)[:, None] > np.array(different)[None]).mean()
    assert (figures.same, figures.different) == (len(same), len(different))
    assert figures.auc[FULL] == pytest.approx(100 * wins, abs=0.01)


def test_moments_are_encoded_with_their_neighbors() -> None:
    model = mova.load("mova-worlds-tiny")
    stacks = np.random.default_rng(0).integers(0, 256, (3, 9, 64, 64), dtype=np.uint8)
    expected = model.image_features(torch.from_numpy(stacks))
    torch.testing.assert_close(relations._encode_stacks(model, stacks), expected, atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of three colors, light and dark, as a table; every clip begins with a second of gray."""
    folder = tmp_path_factory.mktemp("gallery")
    rows = []
    for number, (name, pixel) in enumerate(itertools.product(("red", "green", "blue"), range(4))):
        clip = np.full((8, 32, 32, 3), 128, np.uint8)
        clip[4:] = np.clip(np.array(COLOURS[name]) - 5 * pixel, 0, 255)
        write_mp4(folder / f"{number}.mp4", [clip], fps=4.0)
        rows.append([f"{number}.mp4", "1", "2", name, "" if pixel == 3 else "even" if pixel % 2 == 0 else "odd"])
    path = folder / "gallery.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file", "start", "end", "color", "parity"], *rows])
    return path


def test_a_table_of_own_moments(table: Path) -> None:
    model = ColourEncoder()
    gallery = read_gallery(table, model)
    assert gallery.labels["parity"].tolist()[:4] == [0, 1, 0, -1]
    results = evaluate_relations(
        model, relations.Gallery(gallery.frames, gallery.labels, {"color": gallery.values["color"]})
    )
    assert results["color"].auc[MODEL] == results["color"].auc[FULL] == 100
    assert (results["color"].same, results["color"].different) == (18, 48)
    assert not results["color"].trained


def test_wrong_tables_are_one_message(table: Path) -> None:
    model = ColourEncoder()
    cases = {
        "file,start\n0.mp4,1\n": "at least one concept",
        "file,color\n0.mp4,red\n1.mp4,blue\n": "0 pairs of moments have the same value",
        table.read_text().replace(",1,2,", ",x,2,", 1): "start must be seconds, not 'x'",
        table.read_text().replace(",1,2,", ",-1,2,", 1): "start must be seconds, not '-1'",
    }
    for text, message in cases.items():
        wrong = table.with_name("wrong.csv")
        wrong.write_text(text)
        with pytest.raises(DataError, match=message):
            read_gallery(wrong, model)
    for wish, message in (
        ({"style": "oil"}, "oil"),
        ({"concepts": ("taste",)}, "taste"),
        ({"clips": 1}, "at least two"),
    ):
        with pytest.raises(UsageError, match=message):
            worlds_gallery(model, **wish)  # type: ignore[arg-type]


def test_the_command(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = call("eval", "relations", "--model", "mova-worlds-tiny", "--clips", 60, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["concepts"]["place"]["trained"]
    assert document["mean"][MODEL] > document["mean"][FULL]
    for clips in (2, 8):
        code, _, err = call("eval", "relations", "--model", "mova-worlds-tiny", "--clips", clips)
        assert (code, "at least 10 of each are needed" in err) == (1, True)
    code, _, err = call("eval", "relations", "none.csv")
    assert (code, "none.csv: no such file" in err) == (2, True)
