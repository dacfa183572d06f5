"""Training by a recipe: every weight moves, a stopped run ends as an unbroken one, wrong recipes are explained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from mova.errors import UsageError
from mova.models.registry import load
from mova.train.recipe import load_recipe
from mova.train.recipe_files import shipped_recipes
from mova.train.run import train

SMALL = {
    "model": {"kind": "worlds-tiny", "image_size": 32, "stem": [8, 8], "hidden_size": 16, "heads": 2},
    "data": {"kind": "worlds", "batches": 4, "videos": 2, "events": 3, "image_size": 32},
    "objective": {"kind": "grounding"},
    "training": {"max_steps": 4, "logging_steps": 1, "save_steps": 2, "bf16": False, "learning_rate": 1.0e-3},
    "finish": {"clips": 3, "worlds": 2, "validation": 3},
}


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_run_changes_every_weight_and_saves_a_model_with_its_card(recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    frozen = {"training.max_steps": "1", "training.learning_rate": "0.0"}
    start = train(load_recipe(str(recipe_file), frozen), tmp_path / "0")
    end = train(load_recipe(str(recipe_file)), out)
    before, after = dict(start.named_parameters()), dict(end.named_parameters())
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert still == []
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert {"loss", "frame", "sentence", "paragraph", "factors"} <= lines[0].keys()
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "| relation (of 4) |" in card
    again = load(out)
    assert again.relevance_threshold == pytest.approx(end.relevance_threshold)
    assert again.rule == end.rule
    assert json.loads((out / "calibration.json").read_text())["rule"] == end.rule.to_dict()
    assert "| evidence rule |" in card
    assert yaml.safe_load((out / "recipe.yaml").read_text())["training"]["max_steps"] == 4


@pytest.mark.slow
def test_resuming_ends_with_the_weights_of_an_unbroken_run(recipe_file: Path, tmp_path: Path) -> None:
    unbroken = train(load_recipe(str(recipe_file)), tmp_path / "whole")
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "whole", cut)
    shutil.rmtree(cut / "checkpoint-4")
    resumed = train(load_recipe(str(recipe_file)), cut, resume=True)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_run_is_not_overwritten(recipe_file: Path, tmp_path: Path) -> None:
    for name, leftover, message in (
        ("cut", "checkpoint-4/trainer_state.json", r"cut: contains a run \(checkpoint-4\); continue it with --resume"),
        ("done", "training.json", "done: contains a finished run"),
    ):
        (tmp_path / name / leftover).parent.mkdir(parents=True)
        (tmp_path / name / leftover).write_text('{"global_step": 4}')
        with pytest.raises(UsageError, match=message):
            train(load_recipe(str(recipe_file)), tmp_path / name)
        assert [path.relative_to(tmp_path / name).as_posix() for path in (tmp_path / name).rglob("*.*")] == [leftover]


def test_resuming_without_a_checkpoint_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint"):
        train(load_recipe(str(recipe_file)), tmp_path / "nothing", resume=True)


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipes_are_complete(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({"model.kind": "nothing"}, "model.kind 'nothing'"),
        ({"data.kind": "unheard"}, "data.kind 'unheard'"),
        ({"model.no_such_size": "3"}, "section 'model': unknown setting 'no_such_size'; choose from 'image_size'"),
        ({"objective.kind": "none"}, "objective.kind"),
        ({"training.no_such_field": "1"}, "section 'training': unknown setting 'no_such_field'$"),
        ({"training.max_steps": "many"}, "section 'training': 'max_steps' must be a whole number, not 'many'"),
        ({"training.output_dir": "x"}, "'output_dir' is the folder of the run; use --out"),
        ({"data.batches": "few"}, "section 'data': 'batches' must be a whole number, not 'few'"),
        ({"model.stem": "8"}, "section 'model': 'stem' must be a list of whole numbers, not 8"),
        ({"objective.frame": "true"}, "section 'objective': 'frame' must be a number, not True"),
        ({"training.max_stops": "1"}, "unknown setting 'max_stops'; did you mean 'max_steps'"),
        ({"objective.depth": "1"}, "section 'objective': unknown setting 'depth'; choose from 'frame'"),
        ({"finish.clip": "1"}, "section 'finish': unknown setting 'clip'; did you mean 'clips'"),
    ],
)
def test_errors_of_a_recipe_are_named(
    recipe_file: Path, tmp_path: Path, overrides: dict[str, str], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        train(load_recipe(str(recipe_file), overrides), tmp_path / "out")


def test_recipes_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a recipe file nor"):
        load_recipe("no-such-recipe")
    bad = tmp_path / "bad.yaml"
    bad.write_text("model: [1, 2]\n")
    with pytest.raises(UsageError, match="must be a mapping"):
        load_recipe(str(bad))
    bad.write_text("{")
    with pytest.raises(UsageError, match="not valid YAML"):
        load_recipe(str(bad))
    bad.write_text("surprise: 1\nmodel: {kind: x}\ndata: {kind: x}\nobjective: {kind: x}\n")
    with pytest.raises(UsageError, match="unknown setting 'surprise'"):
        load_recipe(str(bad))


def test_numbers_and_booleans_of_overrides_are_parsed(recipe_file: Path) -> None:
    recipe = load_recipe(str(recipe_file), {"training.learning_rate": "1e-3", "training.bf16": "false", "name": "x"})
    assert recipe.training["learning_rate"] == 1e-3
    assert recipe.training["bf16"] is False
    assert recipe.name == "x"
