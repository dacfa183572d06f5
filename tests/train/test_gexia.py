"""GEXIA through the trainer: stages, granularities, the head, and errors of recipes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from mova.data.batch import PairVectors
from mova.data.manifest import read_manifest, write_manifest
from mova.data.quarantine import Quarantined, write_quarantine
from mova.errors import UsageError
from mova.losses.contrastive import symmetric_nce
from mova.models.gexia.build import GexiaBuild
from mova.models.gexia.model import Gexia
from mova.models.registry import load
from mova.scoring.similarity import cosine
from mova.train.callbacks import BrokenVideos
from mova.train.objectives.base import CachedEncoder
from mova.train.objectives.gexia import Classification, Vtc
from mova.train.recipe import Recipe, data_settings, load_recipe, model_settings, read_objective
from mova.train.run import train
from mova.train.sources.base import RunContext
from mova.train.trainer import PairArguments
from tests.support.pair_batches import unread_batch
from tests.support.ports import free_port
from tests.support.processes import run_processes


@pytest.fixture(scope="module")
def manifest(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Worlds as pairs of two granularities, with labels."""
    rows = [replace(row, video=str(worlds_manifest.parent / row.video)) for row in read_manifest(worlds_manifest)]
    labels = [{"granularity": ("SVST", "LVLT")[i % 2], "label": "odd" if i % 2 else "even"} for i in range(len(rows))]
    marked = [replace(row, meta=meta) for row, meta in zip(rows, labels, strict=True)]
    return write_manifest(tmp_path_factory.mktemp("granular") / "manifest.jsonl", marked)


@pytest.fixture
def small(tiny_clip: Path, manifest: Path) -> Recipe:
    return Recipe(
        "small",
        seed=3,
        model={"kind": "gexia", "source": str(tiny_clip), "bases": 3, "heads": 2},
        data={
            "kind": "manifest",
            "manifest": str(manifest),
            "rule": "linspace",
            "granularities": {"SVST": {"frames": 2}, "LVLT": {"frames": 3}},
        },
        objective={"kind": "vtc"},
        training={
            "max_steps": 3,
            "logging_steps": 1,
            "save_strategy": "no",
            "per_device_train_batch_size": 3,
            "learning_rate": 1e-3,
            "bf16": False,
            "report_to": [],
        },
    )


def changed(recipe: Recipe, **sections: dict[str, Any]) -> Recipe:
    return replace(recipe, **{name: {**getattr(recipe, name), **values} for name, values in sections.items()})


class Stop(TrainerCallback):
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            raise KeyboardInterrupt


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal_weights(first: torch.nn.Module, second: torch.nn.Module, tolerance: float = 0.0) -> None:
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=tolerance), name


def test_every_trainable_weight_changes_and_a_stopped_run_equals_an_unbroken_one(small: Recipe, tmp_path: Path) -> None:
    saving = changed(small, training={"save_strategy": "steps", "save_steps": 2})
    model = train(small, tmp_path / "whole")
    assert isinstance(model, Gexia)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert {"loss", "vtc", "hits", "scale"} <= rows[0].keys()
    assert rows[0]["scale"] == pytest.approx(1 / 0.07, rel=1e-4)
    fresh = load(small.model["source"], precision="fp32", device="cpu").state_dict()
    moved = {name for name, weight in model.named_parameters() if weight.requires_grad}
    same = {
        f"backbone.{name}" for name, value in fresh.items() if torch.equal(value, model.backbone.state_dict()[name])
    }
    assert not moved & same
    assert torch.equal(model.backbone.backbone.logit_scale, fresh["backbone.logit_scale"])
    with pytest.raises(KeyboardInterrupt):
        train(saving, tmp_path / "cut", callbacks=[Stop()])
    assert_equal_weights(model, train(saving, tmp_path / "cut", resume=True))


def test_gradient_caching_changes_no_weight(small: Recipe, tmp_path: Path) -> None:
    sgd = {"max_steps": 1, "optim": "sgd", "max_grad_norm": 0.0}
    validated = {"validation": "val"}  # whose batch is of both granularities
    recipe = changed(small, model={"temperatures": "granularity"}, data=validated, training=sgd)
    recipe = changed(recipe, training={"eval_steps": 1, "load_best_model_at_end": False})
    plain = train(recipe, tmp_path / "plain")
    cached = train(changed(recipe, training={"cache_chunk": 1, "gradient_checkpointing": True}), tmp_path / "cached")
    assert_equal_weights(plain, cached, 1e-5)
    assert (plain.log_scale != plain.log_scale[0]).any()


def test_vtc_is_the_symmetric_contrast_of_video_and_text_vectors() -> None:
    torch.manual_seed(0)
    videos, texts = torch.randn(4, 1, 8), torch.randn(4, 8)
    real = torch.ones(4, 1, dtype=torch.bool)
    vectors = PairVectors(videos, real, texts, torch.arange(4), torch.tensor(5.0))
    loss, parts = Vtc().forward(unread_batch(4), CachedEncoder(torch.nn.Identity(), vectors))
    torch.testing.assert_close(loss, symmetric_nce(5.0 * cosine(videos[:, 0], texts)))
    assert {"vtc", "hits"} <= parts.keys()


def test_the_next_stage_goes_on_from_the_last(small: Recipe, tmp_path: Path) -> None:
    first = train(changed(small, training={"max_steps": 1}), tmp_path / "first")
    before = weights_of(first)
    tuned = changed(small, model={"source": str(tmp_path / "first"), "rounds": {"long": 2}, "freeze": "encoders"})
    second = train(changed(tuned, training={"max_steps": 1}), tmp_path / "second")
    assert (second.config.rounds["long"], second.config.bases) == (2, 3)
    unchanged = {name for name, value in second.state_dict().items() if torch.equal(value, before[name])}
    assert {name for name in before if name.startswith("backbone.")} <= unchanged
    assert "video_iam.base" not in unchanged
    with pytest.raises(UsageError, match="was trained with bases 3"):
        train(changed(tuned, model={"bases": 4}), tmp_path / "other")
    with pytest.raises(UsageError, match="section 'model': unknown setting 'surprise'; choose from 'source'"):
        train(changed(tuned, model={"surprise": 4}), tmp_path / "other")


@pytest.mark.parametrize(
    ("granularities", "rounds", "frames"),
    [
        ({"LVLT": {"frames": 3}}, (3, 3), {"image": 1, "short": 16, "long": 3}),
        ({"SVLT": {"frames": 2}}, (1, 3), {"image": 1, "short": 2, "long": 32}),
        ({"SVST": {"frames": 2}, "LVLT": {"frames": 3}}, (None, None), {"image": 1, "short": 2, "long": 3}),
        ({"IT": {"frames": 1}}, (None, None), {"image": 1, "short": 16, "long": 32}),
    ],
)
def test_inference_equals_training_and_a_stage_resets_rounds(
    granularities: dict, rounds: tuple, frames: dict, small: Recipe, manifest: Path, tmp_path: Path
) -> None:
    rows = [
        replace(row, meta={"granularity": [*granularities][i % len(granularities)]})
        for i, row in enumerate(read_manifest(manifest))
    ]
    data = {"manifest": str(write_manifest(tmp_path / "manifest.jsonl", rows)), "granularities": granularities}
    once = {"max_steps": 1, "per_device_train_batch_size": 2}
    train(changed(small, data=data, training=once), tmp_path / "run")
    model = load(tmp_path / "run", precision="fp32", device="cpu")
    assert (model.config.video_rounds, model.config.text_rounds) == rounds
    assert model.config.frames == frames
    tuned = GexiaBuild(str(tmp_path / "run"), text_rounds=2).build()
    assert (tuned.config.video_rounds, tuned.config.text_rounds) == (None, 2)


@pytest.mark.parametrize(("granularities", "skips"), [(("SVST", "LVLT"), False), (("IT", "LVLT"), True)])
def test_processes_do_not_wait_for_gradients_of_skipped_rounds(
    granularities: tuple[str, str], skips: bool, small: Recipe, manifest: Path, tmp_path: Path
) -> None:
    rows = read_manifest(manifest)
    rows = [replace(row, meta={"granularity": granularities[i % 2]}) for i, row in enumerate(rows)]
    data = {
        "manifest": str(write_manifest(tmp_path / "manifest.jsonl", rows)),
        "granularities": {name: {"frames": 1} for name in granularities},
    }
    recipe = changed(small, data=data)
    broken, arguments = BrokenVideos(tmp_path / "broken.jsonl"), PairArguments(str(tmp_path), report_to=[])
    arguments.per_device_train_batch_size = 3
    context = RunContext(model_settings(recipe).build(), read_objective(recipe), arguments, broken, seed=0)
    assert data_settings(recipe).build(context).skips_weights is skips


def one_of_two(number: int, port: int, recipe: Recipe, folder: str) -> None:
    """A process of two."""
    torch.set_num_threads(1)
    environment = {
        "RANK": number,
        "LOCAL_RANK": number,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ |= {name: str(value) for name, value in environment.items()}
    train(recipe, Path(folder) / str(number))


@pytest.mark.slow
def test_two_processes_train_as_one_even_if_images_have_no_iteration(
    small: Recipe, manifest: Path, tmp_path: Path
) -> None:
    rows = [replace(row, meta={"granularity": ("IT", "LVLT")[i % 2]}) for i, row in enumerate(read_manifest(manifest))]
    marked = [replace(row, split="train") for row in rows]
    granules = {"IT": {"frames": 1}, "LVLT": {"frames": 2}}
    data = {"manifest": str(write_manifest(tmp_path / "manifest.jsonl", marked)), "granularities": granules}
    sgd = {"optim": "sgd", "max_grad_norm": 0.0, "lr_scheduler_type": "constant", "dataloader_drop_last": True}
    recipe = changed(small, data=data, training={**sgd, "max_steps": 2, "learning_rate": 1e-2})
    single = train(changed(recipe, training={"per_device_train_batch_size": 4}), tmp_path / "one")
    port = free_port()
    half = changed(recipe, training={"per_device_train_batch_size": 2})
    run_processes(one_of_two, (port, half, str(tmp_path)), 2)
    assert_equal_weights(single, load(tmp_path / "0", precision="fp32", device="cpu"), 1e-6)


def test_pairs_leave_a_head_alone(small: Recipe, tmp_path: Path) -> None:
    first = train(changed(small, training={"max_steps": 1}), tmp_path / "first")
    assert isinstance(first, Gexia)
    first.make_head(["odd", "even"])
    first.save_pretrained(tmp_path / "headed")
    tuned = changed(small, model={"source": str(tmp_path / "headed")}, training={"max_steps": 1})
    second = train(tuned, tmp_path / "second")
    assert second.labels == ["odd", "even"]
    assert not any(weight.requires_grad for weight in second.head.parameters())
    assert torch.equal(second.head.weight, first.head.weight)


@pytest.mark.parametrize("multiple", [False, True])
def test_training_a_head_does_not_change_the_text_branch(
    multiple: bool, small: Recipe, manifest: Path, tmp_path: Path
) -> None:
    if multiple:
        rows = [replace(row, meta={"label": [row.meta["label"], "all"]}) for row in read_manifest(manifest)]
        manifest = write_manifest(tmp_path / "manifest.jsonl", rows)
    train_rows = [row for row in read_manifest(manifest) if row.split == "train"]
    bad = write_quarantine(
        tmp_path / "bad.jsonl", [Quarantined(train_rows[0].id, "lost.mp4", "missing", "no such file")]
    )
    overrides = {
        "model.source": small.model["source"],
        "model.bases": "3",
        "data.quarantine": str(bad),
        "data.manifest": str(manifest),
        "data.frames": "2",
        "training.max_steps": "2",
        "training.save_steps": "1",
        "training.logging_steps": "1",
        "training.per_device_train_batch_size": "3",
        "training.dataloader_num_workers": "0",
        "training.learning_rate": "1e-3",
        "training.report_to": "[]",
    }
    model = train(load_recipe("gexia-classify", overrides), tmp_path / "run")
    assert isinstance(model, Gexia)
    assert model.labels == (["all", "even", "odd"] if multiple else ["even", "odd"])
    assert model.config.multiple_labels == multiple
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[0]["binary_cross_entropy" if multiple else "cross_entropy"] > 0
    assert {"eval_accuracy", "eval_mAP"} <= rows[1].keys()
    data = json.loads((tmp_path / "run" / "training.json").read_text())["data"]
    assert (data["rows"], data["quarantined"]) == (len(train_rows) - 1, 1)
    fresh = load(small.model["source"], precision="fp32", device="cpu")
    tower = fresh.backbone.text_model.state_dict()
    assert all(torch.equal(value, tower[name]) for name, value in model.backbone.towers[1].state_dict().items())
    again = load(tmp_path / "run", precision="fp32", device="cpu")
    assert again.labels == model.labels
    assert (again.config.video_rounds, again.config.frames["long"]) == (3, 2)


def test_the_head_needs_its_model(small: Recipe, manifest: Path, tmp_path: Path) -> None:
    labels = {"kind": "labels", "manifest": str(manifest), "rule": "linspace", "frames": 2}
    head = replace(small, data=labels, objective={"kind": "classification"})
    with pytest.raises(UsageError, match=r"set model\.kind to gexia"):
        train(replace(head, model={"kind": "two-tower", "source": small.model["source"]}), tmp_path / "run")
    with pytest.raises(UsageError, match=r"data\.size 'huge'"):
        train(replace(head, data={**labels, "size": "huge"}), tmp_path / "run")
    with pytest.raises(UsageError, match=r"data\.granularities"):
        train(changed(small, data={"granularities": None, "frames": 2}), tmp_path / "run")
    with pytest.raises(UsageError, match="objective classification"):
        Classification().forward({}, CachedEncoder(torch.nn.Identity(), {}))
