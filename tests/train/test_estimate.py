"""What a run will need, before it starts: steps, time and disk are those of the run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from mova.train.estimate import MOST_MEASURED, _Measure, estimate
from mova.train.recipe import Recipe
from mova.train.run import train
from tests.support.small_recipes import TRAINING

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recipe(tiny_clip: Path, worlds_manifest: Path) -> Recipe:
    """Two epochs of three steps, validated after each."""
    return Recipe(
        "small",
        model={"kind": "two-tower", "source": str(tiny_clip)},
        data={
            "kind": "manifest",
            "manifest": str(worlds_manifest),
            "validation": "val",
            "frames": 3,
            "fps": 1.0,
        },
        objective={"kind": "clip4clip"},
        training={**TRAINING, "max_steps": -1, "num_train_epochs": 2, "save_steps": 2, "global_batch": 2},
    )


def test_steps_and_disk_are_those_of_the_run(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = estimate(recipe)
    assert list(tmp_path.iterdir()) == []
    train(recipe, tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "training.json").read_text())
    assert (run.steps, run.clips) == (summary["steps"], 2)
    assert 4 <= run.measured <= 6
    assert 0 < run.seconds_per_step < 60
    assert 0 <= run.waiting <= 1
    assert run.memory > 100e6
    folders = sorted((tmp_path / "run").glob("checkpoint-*"))
    assert run.checkpoints == len(folders) + 1 == 3
    actual = sum(path.stat().st_size for path in folders[0].iterdir())
    assert run.checkpoint == pytest.approx(actual, rel=0.01, abs=5000)
    assert run.model < run.checkpoint < run.disk


@pytest.mark.parametrize(
    ("growth", "on_gpu", "processes", "steps"),
    [(1.1, False, 1, MOST_MEASURED), (1.001, False, 1, 5), (1.1, True, 1, 4), (1.001, False, 2, MOST_MEASURED)],
)
def test_steps_go_on_while_memory_grows(
    growth: float, on_gpu: bool, processes: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = iter(int(1e9 * growth**i) for i in range(99))
    monkeypatch.setattr("mova.train.estimate._peak_memory", lambda: (next(peaks), 0))
    measure = _Measure(on_gpu)
    settings = SimpleNamespace(per_device_train_batch_size=1, world_size=processes, gradient_accumulation_steps=1)
    state = SimpleNamespace(max_steps=1000, global_step=0)
    control = SimpleNamespace(should_training_stop=False)
    measure.on_train_begin(settings, state, control)
    while not control.should_training_stop:
        state.global_step += 1
        measure.on_step_end(settings, state, control)
    assert len(measure.peaks) == steps


def test_a_run_of_one_step_has_no_time(recipe: Recipe) -> None:
    run = estimate(replace(recipe, training={**recipe.training, "max_steps": 1, "save_total_limit": None}))
    assert (run.steps, run.checkpoints) == (1, 1)
    assert run.seconds != run.seconds


def test_the_command_prints_it_and_leaves_nothing(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    sections = {name: getattr(recipe, name) for name in ("model", "data", "objective", "training")}
    Path("small.yaml").write_text(yaml.safe_dump({"name": "small", **sections}))
    code, out, err = call("train", "small.yaml", "--estimate")
    assert code == 0, err
    assert "small: 6 steps of 2 clips" in out
    assert "clips/s" in out
    assert "3 checkpoints of" in out
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]
    code, out, _ = call("train", "small.yaml", "--estimate", "--json", "--training.max_steps", "2")
    assert code == 0
    assert json.loads(out)["steps"] == 2
