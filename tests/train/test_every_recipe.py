"""Every shipped recipe trains one step in a test: most in the tests of their data, the rest here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mova.train.recipe import load_recipe
from mova.train.recipe_files import reproducible, shipped_recipes
from mova.train.run import train
from tests.train.sources.test_pairs import OF_TASKS, PAIR_RECIPES

ELSEWHERE = {
    "tests/test_reproduce.py": {name for name in reproducible() if "suite" not in load_recipe(name).reproduce},
    "tests/train/sources/test_pairs.py": {*PAIR_RECIPES} - OF_TASKS - {*reproducible()},
    "tests/train/test_synvita.py": {"synvita", "synvita-video-llava"},
}
SMALL = {
    "training.max_steps": "1",
    "training.save_steps": "1",
    "training.logging_steps": "1",
    "training.dataloader_num_workers": "0",
    "training.report_to": "[]",
    "training.bf16": "false",
}


def test_every_recipe_has_a_run_of_one_step() -> None:
    here = {"gexia-classify", "worlds-tiny", "worlds-small"}
    assert here.union(*ELSEWHERE.values()) == set(shipped_recipes())


def test_a_head_for_any_labels(tiny_clip: Path, worlds_manifest: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in worlds_manifest.read_text(encoding="utf-8").splitlines()]
    for i, row in enumerate(rows):
        row["video"] = str(worlds_manifest.parent / row["video"])
        row["meta"] = {"mood": ("calm", "busy")[i % 2]}
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = {"model.source": tiny_clip, "model.bases": 3, "data.manifest": tmp_path / "m.jsonl", "data.label": "mood"}
    given |= {"data.frames": 2, "training.per_device_train_batch_size": 2}
    settings = SMALL | {key: str(value) for key, value in given.items()}
    train(load_recipe("gexia-classify", settings), tmp_path / "run")
    first, second = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()][:2]
    assert first["loss"] > 0
    assert 0 <= second["eval_accuracy"] <= 100


@pytest.mark.slow
def test_the_shipped_models(tmp_path: Path) -> None:
    small = {"kind": "worlds-tiny", "image_size": 32, "stem": [8, 8], "hidden_size": 16, "heads": 2}
    given = SMALL | {"data.batches": "1", "data.videos": "2", "data.events": "3", "training.save_strategy": "'no'"}
    given |= {"finish.clips": "3", "finish.worlds": "2", "finish.validation": "3"}
    given |= {"data.image_size": "32"} | {f"model.{key}": json.dumps(value) for key, value in small.items()}
    train(load_recipe("worlds-tiny", given), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])["loss"] > 0
    assert "# mova-worlds-tiny\n" in (tmp_path / "run" / "README.md").read_text()

    given |= {"model.start": str(tmp_path / "run"), "model.appearance": "[8, 8]"}
    train(load_recipe("worlds-small", given), tmp_path / "small")
    card = (tmp_path / "small" / "README.md").read_text()
    assert "# mova-worlds-small\n" in card
    assert f"from {tmp_path / 'run'}" in card
