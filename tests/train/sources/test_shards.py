"""Training from shards: a stopped run continues with the same order, and ends with the same weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from mova.data.shards.pack import pack
from mova.errors import UsageError
from mova.models.registry import load
from mova.train.recipe import Recipe
from mova.train.run import train
from tests.support.small_recipes import TRAINING


class Stop(TrainerCallback):
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 4:
            raise KeyboardInterrupt


def recipe(model: Path, manifest: Path, **data: Any) -> Recipe:
    return Recipe(
        "shards",
        seed=3,
        model={"kind": "two-tower", "source": str(model)},
        data={"kind": "manifest", "manifest": str(manifest), "fps": 1.0, "frames": 2, "open_shards": 1, **data},
        objective={"kind": "clip4clip"},
        training={
            **TRAINING,
            "max_steps": 6,
            "save_steps": 1,
            "per_device_train_batch_size": 2,
        },
    )


def losses(folder: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (folder / "log.jsonl").read_text("utf-8").splitlines())
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


@pytest.mark.parametrize("form", ["tar", "lance"])
def test_a_stopped_run_continues_within_the_shards(
    tiny_clip: Path, worlds_manifest: Path, tmp_path: Path, form: str
) -> None:
    manifest = pack(worlds_manifest, tmp_path / "data", form, shard_bytes=20_000).manifest  # type: ignore[arg-type]
    settings = recipe(tiny_clip, manifest)
    settings.training["dataloader_num_workers"] = 1 if form == "tar" else 0  # this process has used Lance
    train(settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "cut", callbacks=[Stop()])
    train(settings, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    weights = [load(tmp_path / name, device="cpu").state_dict() for name in ("whole", "cut")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not (tmp_path / "whole" / "broken.jsonl").exists()


def test_the_number_of_open_shards_is_checked(tiny_clip: Path, worlds_manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.open_shards must be 0 or more, not -1"):
        train(recipe(tiny_clip, worlds_manifest, open_shards=-1), tmp_path)


READ = """
import sys
from torch.utils.data import DataLoader
from mova.data.dataset import PairDataset, collate
from mova.video.reader import FrameRule
data = PairDataset(sys.argv[1], split="train", sampling=FrameRule(2, rule="head"))
first = [len(batch) for batch in DataLoader(data, 2, num_workers=1, collate_fn=collate)]
assert first == [2, 2, 2], first
import lancedb
try:
    list(DataLoader(data, 2, num_workers=1, collate_fn=collate))
except Exception as error:
    print("train in a new process" in str(error))
"""


def test_workers_read_lance_unless_forked_from_a_process_that_has(worlds_manifest: Path, tmp_path: Path) -> None:
    manifest = pack(worlds_manifest, tmp_path, "lance").manifest
    done = subprocess.run([sys.executable, "-c", READ, str(manifest)], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("True", 0), done.stderr
