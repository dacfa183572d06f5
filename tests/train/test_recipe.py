"""Recipes: bases are written out in full, the preset is said once, and every mistake is named with its place."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from mova.cli.training import describe_recipe
from mova.errors import UsageError
from mova.train.recipe import Recipe, load_recipe, read_objective, training_settings
from mova.train.recipe_files import shipped_recipes
from mova.train.run import train

MOVA = {
    "model": {
        "kind": "mova",
        "preset": "subsets",
        "source": "openai/clip-vit-base-patch16",
        "text_length": 248,
    },
    "data": {"kind": "manifest", "manifest": None, "split": "train", "validation": "val", "frames": 64},
    "objective": {"kind": "mova", "preset": "subsets"},
    "training": {
        "num_train_epochs": 5,
        "per_device_train_batch_size": 256,
        "per_device_eval_batch_size": 32,
        "cache_chunk": 8,
        "gradient_checkpointing": True,
        "encoder_learning_rate": 1.0e-7,
        "learning_rate": 1.0e-4,
        "weight_decay": 0.2,
        "adam_beta2": 0.98,
        "adam_epsilon": 1.0e-6,
        "warmup_steps": 0.1,
        "max_grad_norm": 1.0,
        "logging_steps": 10,
        "dataloader_drop_last": True,
        "dataloader_num_workers": 8,
        "dataloader_prefetch_factor": 1,
    },
    "reproduce": {
        "system": "MoVA",
        "part": "test",
        "overrides": {"model.preset": "paper"},
        "default": "MoVA, preset subsets (the recipe's own)",
        "caveats": {
            "model.source": "training starts from CLIP; the paper starts from a warm-up on ShareGPT4V "
            "(recipe warmup-sharegpt4v)",
            "training.num_train_epochs": "epochs, warm-up and decay of the paper are not known; those of CLIP4Clip are "
            "used",
        },
    },
}
DATASET_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "activitynet": {
        "data": {"captions": "paragraph", "fps": 1.0},
        "training": {"save_steps": 39},
        "reproduce": {
            "data_set": "activitynet",
            "part": "val_1",
            "hold_out": "val",
            "protocol": "activitynet-val1",
        },
    },
    "didemo": {
        "data": {"captions": "paragraph", "fps": 2.0},
        "training": {"save_steps": 32},
        "reproduce": {"data_set": "didemo", "protocol": "didemo"},
    },
    "msvd": {
        "data": {"captions": "caption", "fps": 4.0, "frames": 32},
        "training": {"save_steps": 190, "cache_chunk": 16},
        "reproduce": {"data_set": "msvd", "protocol": "msvd"},
    },
    "videoufo": {
        "data": {"captions": "first", "fps": 4.0},
        "training": {"save_steps": 500},
        "reproduce": {"data_set": "videoufo", "protocol": "videoufo"},
    },
    "ultravideo": {
        "data": {"captions": "first", "fps": 4.0},
        "training": {"save_steps": 164},
        "reproduce": {"data_set": "ultravideo", "protocol": "ultravideo"},
    },
}


@pytest.mark.parametrize("name", DATASET_SETTINGS)
def test_a_recipe_of_mova_is_its_base_with_its_data_sets_settings(name: str) -> None:
    recipe = asdict(load_recipe(name))
    for section, values in MOVA.items():
        assert recipe[section] == {**values, **DATASET_SETTINGS[name].get(section, {})}, section
    assert (recipe["name"], recipe["seed"], recipe["finish"]) == (name, 0, {})
    assert recipe["description"]


def test_bases_are_not_listed_and_not_run() -> None:
    assert {"mova-base", "gexia-base"}.isdisjoint(shipped_recipes())
    with pytest.raises(UsageError, match=r"mova-base\.yaml: is a base of other recipes .* cannot be run itself"):
        load_recipe("mova-base")


def written(folder: Path, name: str, document: dict[str, Any]) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return str(path)


def test_a_recipe_extends_a_file_beside_it_one_level_deep(tmp_path: Path) -> None:
    sections = {"model": {"kind": "two-tower", "source": "x"}, "data": {"kind": "manifest", "fps": 1.0, "frames": 8}}
    written(tmp_path, "one", {**sections, "objective": {"kind": "late_interaction", "tau": 0.2}, "description": "One"})
    child = {"extends": "one.yaml", "data": {"frames": 4}, "objective": {"kind": "clip4clip"}, "seed": 3}
    recipe = load_recipe(written(tmp_path, "two", child), {"data.fps": "2"})
    assert recipe == Recipe(
        "two",
        3,
        sections["model"],
        {"kind": "manifest", "fps": 2, "frames": 4},
        {"kind": "clip4clip"},
        description="One",
    )
    with pytest.raises(UsageError, match=r"two\.yaml, which extends another recipe itself"):
        load_recipe(written(tmp_path, "three", {"extends": "two.yaml"}))
    with pytest.raises(UsageError, match=r"four\.yaml: extends nowhere: neither a recipe file nor"):
        load_recipe(written(tmp_path, "four", {"extends": "nowhere"}))


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({"seed": "null"}, "'seed' must be a whole number"),
        ({"seed": "1.5"}, "'seed' must be a whole number"),
        ({"model.kind": "null"}, "'model' needs a kind"),
        ({"objective.kind": "[mova]"}, "'objective' needs a kind"),
        ({"training": "null"}, "'training' must be a mapping, not None"),
        ({"data.frames": "[1"}, r"--data\.frames: '\[1': not valid YAML"),
        ({"data.frames.most": "1"}, "'frames' is not a section of the recipe"),
    ],
)
def test_invalid_overrides_are_named(overrides: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        load_recipe("didemo", overrides)


def test_no_on_the_command_line_is_a_word_for_settings_that_take_text() -> None:
    words = {"training.eval_strategy": "no", "training.gradient_checkpointing": "no", "data.split": "off"}
    recipe = load_recipe("didemo", words)
    settings = training_settings(recipe)
    assert (settings["eval_strategy"], settings["gradient_checkpointing"]) == ("no", False)
    assert recipe.data["split"] == "off"
    with pytest.raises(UsageError, match="'eval_strategy' must be one of no, steps, epoch or text, not False"):
        training_settings(load_recipe("didemo", {"training.eval_strategy": "false"}))


def test_the_preset_is_stated_once() -> None:
    assert load_recipe("didemo", {"model.preset": "paper"}).objective == {"kind": "mova", "preset": "paper"}
    overrides = {"model.preset": "paper", "objective.preset": "paper"}
    assert load_recipe("didemo", overrides).objective["preset"] == "paper"
    assert load_recipe("didemo", {"objective.preset": "null"}).objective["preset"] == "subsets"
    assert "preset" not in load_recipe("warmup-sharegpt4v").objective
    with pytest.raises(UsageError, match=r"objective\.preset is 'repaired' but model\.preset is 'subsets'"):
        load_recipe("didemo", {"objective.preset": "repaired"})


def test_the_preset_of_an_objective_must_be_the_default_of_a_model_without_one() -> None:
    model = {"kind": "mova", "source": "x"}
    for preset in ("subsets", "paper"):
        recipe = Recipe("own", 0, model, {"kind": "manifest"}, {"kind": "mova", "preset": preset})
        if preset == "subsets":
            assert read_objective(recipe)
        else:
            with pytest.raises(UsageError, match=r"'paper' but model\.preset is 'subsets' by default; set"):
                read_objective(recipe)


def test_an_error_while_building_keeps_its_traceback(
    tiny_clip: Path, worlds_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any) -> Any:
        return {}["heads"] + int(None)

    recipe = Recipe(
        "small",
        model={"kind": "two-tower", "source": str(tiny_clip)},
        data={"kind": "manifest", "manifest": str(worlds_manifest), "fps": 1.0},
        objective={"kind": "clip4clip"},
    )
    monkeypatch.setattr("mova.models.two_tower.build.TwoTowerBuild.build", broken)
    with pytest.raises(KeyError, match="heads"):
        train(recipe, tmp_path / "run")


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_the_help_page_of_a_recipe_describes_every_setting(name: str) -> None:
    recipe = load_recipe(name)
    page = describe_recipe(recipe).splitlines()
    assert page[0] == f"{name}: {recipe.description}"
    for section in ("model", "data", "objective", "training"):
        for key, value in getattr(recipe, section).items():
            if key != "kind":
                (row,) = [i for i, line in enumerate(page) if line.startswith(f"  --{section}.{key}  ")]
                assert page[row].endswith(f", now {json.dumps(value, ensure_ascii=False)}")
                assert page[row + 1].startswith("      "), f"{section}.{key} is not described"
