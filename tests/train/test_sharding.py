"""FSDP2 with two processes equals one process; accelerate is made to treat processors as GPUs."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mova.data.manifest import read_manifest, write_manifest
from mova.errors import UsageError
from mova.models.registry import load
from mova.train.recipe import Recipe
from mova.train.run import train
from tests.support.ports import free_port
from tests.support.processes import run_processes
from tests.support.small_recipes import TRAINING

GPUS = torch.cuda.device_count()


def recipe(source: Path, manifest: Path, **training: Any) -> Recipe:
    """MoVA's paper preset: masks run after the model's forward pass; chunks of one pair."""
    return Recipe(
        "sharded",
        seed=5,
        model={"kind": "mova", "preset": "paper", "source": str(source)},
        data={"kind": "manifest", "manifest": str(manifest), "captions": "paragraph", "frames": 3, "fps": 1.0},
        objective={"kind": "mova"},
        training={
            **{key: value for key, value in TRAINING.items() if key != "per_device_train_batch_size"},
            "global_batch": 4,
            "cache_chunk": 1,
            "save_steps": 1,
            "dataloader_drop_last": True,
            **training,
        },
    )


def one_of(number: int, world: int, port: int, source: str, manifest: str, folder: str, device: str) -> None:
    """One of `world` processes that train; two of them shard the model, and also continue a run that was cut."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        from accelerate import PartialState
        from accelerate.utils import DistributedType

        plain = PartialState.__init__

        def as_gpus(self: Any, *args: Any, **kwargs: Any) -> None:
            plain(self, *args, **kwargs)
            if self.distributed_type == DistributedType.MULTI_CPU:
                self.distributed_type = DistributedType.MULTI_GPU

        PartialState.__init__ = as_gpus  # type: ignore[method-assign]
    elif world == 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = "0"
    os.environ |= {"LOCAL_RANK": str(number), "RANK": str(number), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    out = Path(folder, f"run{world}")
    made = recipe(Path(source), Path(manifest), **({"fsdp": True} if world > 1 else {}))
    model = train(made, out)
    half = {"bf16": True, "max_steps": 1, "save_strategy": "no", "cache_chunk": 0}
    train(recipe(Path(source), Path(manifest), **half, **({"fsdp": True} if world > 1 else {})), out / "half")
    if world > 1:
        kinds = {type(weight).__name__ for weight in model.parameters()}
        assert kinds == {"DTensor"}, kinds
        cut = Path(folder, "cut")
        if number == 0:
            shutil.copytree(out / "checkpoint-1", cut / "checkpoint-1")
        torch.distributed.barrier()
        train(made, cut, resume=True)


def run(world: int, *arguments: str) -> None:
    port = free_port()
    run_processes(one_of, (world, port, *arguments), world)


@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cpu", marks=pytest.mark.slow),
        pytest.param("cuda", marks=pytest.mark.skipif(GPUS < 2, reason=f"needs two GPUs, and there are {GPUS}")),
    ],
)
def test_a_sharded_run_equals_one_process(device: str, worlds_manifest: Path, tiny_clip: Path, tmp_path: Path) -> None:
    rows = [replace(row, video=str(worlds_manifest.parent / row.video)) for row in read_manifest(worlds_manifest)]
    broken = [replace(row, video="missing.mp4") if i == 2 else row for i, row in enumerate(rows)]
    manifest = write_manifest(tmp_path / "manifest.jsonl", broken)
    if GPUS:
        run(1, str(tiny_clip), str(manifest), str(tmp_path), device)
    else:
        for folder, how in (("run1", {}), ("run1/half", {"bf16": True, "max_steps": 1, "cache_chunk": 0})):
            train(recipe(tiny_clip, manifest, **how), tmp_path / folder)
    run(2, str(tiny_clip), str(manifest), str(tmp_path), device)
    alone, sharded, cut, half, sharded_half = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("run1", "run2", "cut", "run1/half", "run2/half")
    )
    assert sharded_half[0]["loss"] == pytest.approx(half[0]["loss"], rel=1e-3)
    assert half[0]["loss"] != alone[0]["loss"]
    assert any("broken" in line for line in sharded), "one process has fewer chunks than the other"
    for first, second in zip(alone[:2], sharded[:2], strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
        assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-4)
    assert cut[0]["loss"] == sharded[1]["loss"]
    one, two, again = (load_file(tmp_path / name / "model.safetensors") for name in ("run1", "run2", "cut"))
    assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in two.items()}
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=0, atol=5e-4)  # Adam turns rounding into parts of its rate
        assert torch.equal(two[key], again[key]), key
    assert load(tmp_path / "run2").encode_text("a dog").pooled.isfinite().all()


def test_settings_that_cannot_be_sharded_are_refused(worlds_manifest: Path, tiny_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="divides a model among processes, and there is one; start several"):
        train(recipe(tiny_clip, worlds_manifest, fsdp=True), tmp_path / "a")
    with pytest.raises(UsageError, match=r"'fsdp' must be true or false, not 'full_shard'"):
        train(recipe(tiny_clip, worlds_manifest, fsdp="full_shard"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
