"""Training on pairs from a manifest, end to end on a tiny CLIP: it learns, resumes, chooses; every recipe runs."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing import ProcessExitedException
from transformers import TrainerCallback

from mova.data.columns.table import write_table
from mova.data.dataset import PairDataset
from mova.data.manifest import fingerprint, read_manifest, write_manifest
from mova.data.quarantine import Quarantined, write_quarantine
from mova.errors import DataError, UsageError
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.train.recipe import Recipe, load_recipe
from mova.train.recipe_files import reproducible, shipped_recipes
from mova.train.run import newest_checkpoint, train
from mova.worlds.batches import vocabulary
from tests.support.ports import free_port
from tests.support.processes import run_processes
from tests.support.small_recipes import TRAINING

PAIR_RECIPES = sorted(name for name in shipped_recipes() if load_recipe(name).data["kind"] == "manifest")
PAPER = {"activitynet", "msvd", "didemo", "videoufo", "ultravideo"}


@pytest.fixture
def small(tiny_clip: Path, worlds_manifest: Path) -> Recipe:
    """Four steps on six videos, two a batch, decoded in the process that trains."""
    return Recipe(
        "small",
        seed=3,
        model={"kind": "two-tower", "source": str(tiny_clip)},
        data={"kind": "manifest", "manifest": str(worlds_manifest), "fps": 1.0, "frames": 3, "captions": "sentence"},
        objective={"kind": "late_interaction"},
        training={**TRAINING, "max_steps": 4, "per_device_train_batch_size": 2},
    )


def changed(recipe: Recipe, **sections: dict[str, Any]) -> Recipe:
    return replace(recipe, **{name: {**getattr(recipe, name), **values} for name, values in sections.items()})


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def assert_equal_weights(first: torch.nn.Module, second: torch.nn.Module, tolerance: float = 0.0) -> None:
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=tolerance), name


class Stop(TrainerCallback):
    """Ends the run as Ctrl-C does, in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["clip4clip", "late_interaction"])
def test_every_weight_changes_and_the_saved_model_loads(small: Recipe, tmp_path: Path, kind: str) -> None:
    recipe = replace(changed(small, training={"max_steps": 2}), objective={"kind": kind})
    model = train(recipe, tmp_path)
    start = load(small.model["source"], precision="fp32", device="cpu")
    before, after = dict(start.named_parameters()), dict(model.named_parameters())
    assert [name for name in before if torch.equal(before[name], after[name])] == []
    again = load(tmp_path, precision="fp32", device="cpu")
    assert torch.allclose(again.encode_text("A cat.").pooled, model.encode_text("A cat.").pooled, atol=1e-6)
    parts = {"clip4clip": {"global", "hits"}, "late_interaction": {"late", "global", "hits", "global_hits"}}[kind]
    assert {"step", "loss", "grad_norm", "learning_rate", "scale"} | parts <= log_of(tmp_path)[0].keys()


def test_a_run_stopped_in_the_middle_ends_with_the_weights_of_an_unbroken_one(small: Recipe, tmp_path: Path) -> None:
    unbroken = train(small, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(small, tmp_path / "cut", callbacks=[Stop(3)])
    half_written = tmp_path / "cut" / "checkpoint-3"
    half_written.mkdir()
    (half_written / "trainer_state.json").write_text('{"global_')
    assert newest_checkpoint(tmp_path / "cut") == tmp_path / "cut" / "checkpoint-2"
    resumed = train(small, tmp_path / "cut", resume=True)
    assert_equal_weights(unbroken, resumed)
    losses = [
        [(row["step"], row["loss"]) for row in log_of(tmp_path / name) if "loss" in row] for name in ("whole", "cut")
    ]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[1]] == [1, 2, 3, 4]


class Kill(Stop):
    """Ends the process at once."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(_: int, recipe: Recipe, folder: Path) -> None:
    """What a process does that is killed before its fourth step."""
    torch.set_num_threads(1)
    train(recipe, folder, callbacks=[Kill(3)])


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(small: Recipe, tmp_path: Path) -> None:
    unbroken = train(small, tmp_path / "whole")
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        run_processes(killed, (small, tmp_path / "cut"), 1)
    assert_equal_weights(unbroken, train(small, tmp_path / "cut", resume=True))


def one_of_two(number: int, port: int, recipe: Recipe, folder: Path) -> None:
    """What each process of a distributed run does."""
    torch.set_num_threads(1)
    where = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in where.items()})
    train(recipe, folder)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [0, 2])
def test_two_processes_end_with_the_weights_of_one_with_the_whole_batch(
    small: Recipe, tmp_path: Path, chunk: int
) -> None:
    sgd = {"max_steps": 1, "optim": "sgd", "max_grad_norm": 0.0, "use_cpu": True, "global_batch": 6}
    alone = train(changed(small, training=sgd), tmp_path / "alone")
    shared = changed(small, training={**sgd, "cache_chunk": chunk})
    port = free_port()
    run_processes(one_of_two, (port, shared, tmp_path / "shared"), 2)
    assert_equal_weights(alone, load(tmp_path / "shared", precision="fp32", device="cpu"), 1e-6)


@pytest.mark.parametrize(
    "setting", [{"cache_chunk": 1}, {"gradient_checkpointing": True}, {"dataloader_num_workers": 2}]
)
def test_saving_memory_or_time_changes_no_weight(small: Recipe, tmp_path: Path, setting: dict[str, Any]) -> None:
    sgd = {"max_steps": 2, "optim": "sgd", "per_device_train_batch_size": 3, "max_grad_norm": 0.0}
    plain = train(changed(small, training=sgd), tmp_path / "plain")
    assert_equal_weights(plain, train(changed(small, training=sgd | setting), tmp_path / "other"), 1e-5)


def test_a_global_batch_is_divided_among_accumulated_batches(small: Recipe, tmp_path: Path) -> None:
    sgd = {"max_steps": 1, "optim": "sgd", "gradient_accumulation_steps": 2, "max_grad_norm": 0.0}
    plain = train(changed(small, training=sgd), tmp_path / "plain")
    whole = {**sgd, "global_batch": 4, "per_device_train_batch_size": 5}
    assert_equal_weights(plain, train(changed(small, training=whole), tmp_path / "whole"))
    with pytest.raises(
        UsageError, match=r"global_batch 5 is not a multiple of 2 \(1 processes, 2 accumulated batches\)"
    ):
        train(changed(small, training={**sgd, "global_batch": 5}), tmp_path / "odd")


def test_the_log_has_clips_per_second_and_the_share_of_time_that_the_loop_waits(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {"max_steps": 3, "save_steps": 1, "logging_steps": 3, "load_best_model_at_end": False}
    recipe = changed(small, data={"validation": "val"}, training=steps)
    train(recipe, tmp_path / "quick")
    read = PairDataset.__getitem__

    def slowly(self: PairDataset, draw: Any) -> Any:
        time.sleep(0.2)
        return read(self, draw)

    monkeypatch.setattr(PairDataset, "__getitem__", slowly)
    train(recipe, tmp_path / "slow")
    (quick,), (slow,) = ([row for row in log_of(tmp_path / name) if "loss" in row] for name in ("quick", "slow"))
    assert 0 <= quick["waiting"] <= 1
    assert 0.4 < slow["waiting"] <= 1
    assert slow["clips_per_second"] < 5  # validation, in which this process waits too, does not count
    assert quick["clips_per_second"] > slow["clips_per_second"]


def test_caching_adds_up_over_accumulated_batches(small: Recipe, tmp_path: Path) -> None:
    sgd = {"max_steps": 1, "optim": "sgd", "gradient_accumulation_steps": 2, "max_grad_norm": 0.0}
    plain = train(changed(small, training=sgd), tmp_path / "plain")
    assert_equal_weights(plain, train(changed(small, training={**sgd, "cache_chunk": 1}), tmp_path / "other"), 1e-5)
    losses = [log_of(tmp_path / name)[0]["loss"] for name in ("plain", "other")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_run_ends_with_the_best_checkpoint_by_validation(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mova.train.validation import RetrievalValidation

    figures = iter([40.0, 70.0, 10.0, 20.0])
    metrics: list[dict[str, float]] = []

    def validate(self: RetrievalValidation, model: Any) -> dict[str, float]:
        assert not model.net.training
        metrics.append(real(self, model))
        return {"R@1": next(figures)}

    real = RetrievalValidation.__call__
    monkeypatch.setattr(RetrievalValidation, "__call__", validate)
    recipe = changed(small, data={"validation": "val"}, training={"save_steps": 1})
    model = train(recipe, tmp_path / "chosen")
    assert {"R@1", "t2v_R@1", "v2t_R@1", "t2v_MdR", "v2t_MnR"} <= metrics[0].keys()
    assert 0 <= metrics[0]["R@1"] <= 100
    summary = json.loads((tmp_path / "chosen" / "training.json").read_text())
    assert (summary["best_step"], summary["best"]) == (2, 70.0)
    other_recipe = changed(small, training={"save_steps": 1})
    train(other_recipe, tmp_path / "all")
    checkpoint = load(tmp_path / "all" / "checkpoint-4", precision="fp32", device="cpu")
    with pytest.raises(AssertionError):
        assert_equal_weights(model, checkpoint)
    with pytest.raises(KeyboardInterrupt):
        train(other_recipe, tmp_path / "two", callbacks=[Stop(2)])
    assert_equal_weights(model, load(tmp_path / "two" / "checkpoint-2", precision="fp32", device="cpu"))


def test_validation_draws_no_random_number(small: Recipe, tmp_path: Path) -> None:
    without = train(small, tmp_path / "without")
    with_it = changed(small, data={"validation": "val"}, training={"load_best_model_at_end": False, "eval_steps": 1})
    assert_equal_weights(without, train(with_it, tmp_path / "with"))
    assert sum("eval_R@1" in row for row in log_of(tmp_path / "with")) == 4


def test_validation_compares_a_fixed_draw_of_rows_in_blocks_of_any_size(
    small: Recipe, worlds_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mova.train import validation

    seen: list[tuple[list[int], dict[str, float]]] = []

    def validate(self: validation.RetrievalValidation, model: Any) -> dict[str, float]:
        metrics = real(self, model)
        seen.append((list(self.dataset.indices), metrics))  # type: ignore[attr-defined]
        return metrics

    real = validation.RetrievalValidation.__call__
    monkeypatch.setattr(validation.RetrievalValidation, "__call__", validate)
    rows = [replace(row, video=str(worlds_manifest.parent / row.video)) for row in read_manifest(worlds_manifest)]
    splits = ["train"] * 4 + ["val"] * 6
    manifest = write_manifest(
        tmp_path / "m.jsonl", [replace(row, split=split) for row, split in zip(rows, splits, strict=True)]
    )
    data = {"manifest": str(manifest), "validation": "val", "validation_rows": 5}
    recipe = changed(small, data=data, training={"max_steps": 1, "save_steps": 1})
    train(recipe, tmp_path / "whole")
    monkeypatch.setattr(validation, "ROWS", 1)
    monkeypatch.setattr(validation, "BLOCK", 2)
    train(recipe, tmp_path / "blocks")
    assert seen[0] == seen[1]
    assert len(set(seen[0][0])) == 5
    with pytest.raises(UsageError, match=r"data\.validation_rows must be at least 2, not 1"):
        train(changed(recipe, data={"validation_rows": 1}), tmp_path / "one")


def test_a_table_trains_as_its_manifest_does(small: Recipe, worlds_manifest: Path, tmp_path: Path) -> None:
    write_table(worlds_manifest, tmp_path / "worlds.arrow")
    validated = changed(small, data={"validation": "val"}, training={"save_steps": 2})
    plain = train(validated, tmp_path / "plain")
    table = train(changed(validated, data={"manifest": str(tmp_path / "worlds.arrow")}), tmp_path / "table")
    assert_equal_weights(plain, table)
    figures = [[row["eval_R@1"] for row in log_of(tmp_path / name) if "eval_R@1" in row] for name in ("plain", "table")]
    assert figures[0] == figures[1]
    held = {"manifest": str(tmp_path / "worlds.arrow"), "validation": "validation", "hold_out": 0.3}
    with pytest.raises(UsageError, match="hold_out does not read tables"):
        train(changed(small, data=held), tmp_path / "held")


def test_broken_videos_are_counted_and_named(small: Recipe, worlds_manifest: Path, tmp_path: Path) -> None:
    rows = [replace(row, video=str(worlds_manifest.parent / row.video)) for row in read_manifest(worlds_manifest)]
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    broken = replace(rows[0], id="broken", video=str(tmp_path / "broken.mp4"))
    manifest = write_manifest(tmp_path / "manifest.jsonl", [broken, *rows])
    recipe = changed(small, data={"manifest": str(manifest)}, training={"per_device_train_batch_size": 7})
    train(recipe, tmp_path / "run")
    (line,) = (tmp_path / "run" / "broken.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["path"].endswith("broken.mp4")
    assert json.loads((tmp_path / "run" / "training.json").read_text())["broken"] == 1
    assert log_of(tmp_path / "run")[3]["broken"] == 1


def test_quarantined_rows_and_leaks_are_reported(
    small: Recipe, worlds_manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [replace(row, video=str(worlds_manifest.parent / row.video)) for row in read_manifest(worlds_manifest)]
    again = replace(rows[0], id="again", split="val")
    manifest = write_manifest(tmp_path / "manifest.jsonl", [*rows, again])
    bad = write_quarantine(tmp_path / "q.jsonl", [Quarantined(rows[1].id, rows[1].video, "unreadable", "cut off")])
    data = {"manifest": str(manifest), "quarantine": str(bad), "validation": "val"}
    with caplog.at_level(logging.WARNING, logger="mova"):
        train(changed(small, data=data, training={"max_steps": 1, "save_steps": 1}), tmp_path / "run")
    assert "1 rows of" in caplog.text
    assert f"1 source videos are in both 'train' and 'val', such as {rows[0].id}" in caplog.text
    summary = json.loads((tmp_path / "run" / "training.json").read_text())["data"]
    remaining = [row for row in rows if row.split == "train" and row.id != rows[1].id]
    assert (summary["rows"], summary["quarantined"]) == (len(remaining), 1)
    assert summary["fingerprint"] == fingerprint(remaining)


def test_the_small_model_of_worlds_trains_on_pairs_too(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"image_size": 32, "stem": [8, 8], "hidden_size": 16, "heads": 2}
    monkeypatch.setattr("mova.train.publish.release_worlds_tiny", lambda *args: None)
    recipe = replace(
        changed(small, data={"fps": 2.0}, training={"max_steps": 1}), model={"kind": "worlds-tiny", **sizes}
    )
    model = train(recipe, tmp_path / "run")
    torch.manual_seed(3)
    assert isinstance(model, WorldsTiny)
    fresh = WorldsTiny(WorldsTinyConfig(vocabulary=vocabulary(), **sizes))
    assert model.text_tower.words.weight.shape == fresh.text_tower.words.weight.shape
    with pytest.raises(UsageError, match="batch normalization"):
        train(changed(recipe, training={"cache_chunk": 1}), tmp_path / "cached")
    with pytest.raises(UsageError, match="only supports 2 frames per second"):
        train(changed(recipe, data={"fps": 1.0}), tmp_path / "rate")
    with pytest.raises(UsageError, match="gradient_checkpointing: WorldsTiny"):
        train(changed(recipe, training={"gradient_checkpointing": True}), tmp_path / "memory")


@pytest.mark.parametrize(
    ("sections", "kind", "complaint"),
    [
        ({"data": {"manifest": None}, "model": {"source": "no/model"}}, UsageError, r"--data\.manifest"),
        ({"data": {"manifest": "gone.jsonl"}}, UsageError, r"gone\.jsonl is not a file"),
        ({"data": {"rule": "head"}}, UsageError, "either a 'rule' or an 'fps'"),
        ({"data": {"split": "nothing"}}, DataError, "split 'nothing'"),
        ({"data": {"validation": "nothing"}}, DataError, "split 'nothing'"),
        ({"data": {"surprise": 1}}, UsageError, "section 'data'.*surprise"),
        ({"model": {"surprise": 1}}, UsageError, "section 'model'.*surprise"),
        ({"training": {"cache_chunk": -1}}, UsageError, "cache_chunk must be 0 or more"),
        ({"training": {"cache_chunk": 1, "fp16": True}}, UsageError, "train in bf16"),
        ({"training": {"dataloader_drop_last": True, "per_device_train_batch_size": 9}}, UsageError, "6 pairs, fewer"),
        ({"objective": {"kind": "grounding"}}, UsageError, "reads data of kind worlds, not manifest"),
        ({"finish": {"clips": 1}}, UsageError, "section 'finish': model kind two-tower has no 'clips'"),
    ],
)
def test_errors_of_a_recipe_are_named(
    small: Recipe, tmp_path: Path, sections: dict[str, Any], kind: type[Exception], complaint: str
) -> None:
    with pytest.raises(kind, match=complaint):
        train(changed(small, **sections), tmp_path / "run")


def test_a_model_without_its_source_is_explained(small: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"section 'model'.*source"):
        train(replace(small, model={"kind": "two-tower"}), tmp_path / "run")


def test_the_papers_data_sets_have_recipes() -> None:
    assert set(PAIR_RECIPES) >= PAPER


@pytest.mark.parametrize("name", sorted(PAPER))
def test_a_recipe_holds_the_papers_settings(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.training["per_device_train_batch_size"] == 256
    assert (recipe.training["encoder_learning_rate"], recipe.training["learning_rate"]) == (1e-7, 1e-4)
    assert 32 <= recipe.data["frames"] <= 160
    assert recipe.model["text_length"] == 248
    assert "manifest" in recipe.data
    assert recipe.data["validation"] not in (None, "test", recipe.data["split"])


OF_TASKS = {"gexia-charades-ego", "gexia-how2qa"}
"""Recipes whose data are questions or actions: tests/train/test_gexia_tasks.py."""


@pytest.mark.parametrize("name", ["activitynet", *sorted({*PAIR_RECIPES} - {*reproducible()} - OF_TASKS)])
def test_a_recipe_trains_one_step_on_any_manifest(
    name: str, tiny_clip: Path, worlds_manifest: Path, tmp_path: Path
) -> None:
    overrides = {
        "model.source": str(tiny_clip),
        "data.manifest": str(worlds_manifest),
        "data.frames": "4",
        "training.max_steps": "1",
        "training.save_steps": "1",
        "training.per_device_train_batch_size": "3",
        "training.cache_chunk": "2",
        "training.dataloader_num_workers": "0",
        "training.logging_steps": "1",
    }
    if "granularities" in load_recipe(name).data:
        overrides |= {"data.granularities": "{LVLT: {frames: 4}}", "model.bases": "4"}
    train(load_recipe(name, overrides), tmp_path)
    rows = log_of(tmp_path)
    assert rows[0]["loss"] > 0
    assert "eval_R@1" in rows[1]
    assert list(tmp_path.glob("runs/*/events*"))
    assert (tmp_path / "model.safetensors").is_file()
