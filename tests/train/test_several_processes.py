"""SynViTA's training in two processes: each on its own device, and equal to one process with the whole batch."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft")

from mova.data.manifest import Row, read_manifest, write_manifest
from mova.train.recipe import Recipe
from mova.train.run import train
from tests.support.ports import free_port
from tests.support.processes import run_processes
from tests.support.tiny_videollms import build

GPUS = torch.cuda.device_count()


def recipe(source: str, manifest: str) -> Recipe:
    model = {"kind": "video-llm", "source": source, "rank": 4, "alpha": 8, "dropout": 0.0}
    training = {"max_steps": 1, "global_batch": 4, "cache_chunk": 1, "save_strategy": "no", "optim": "sgd"}
    training |= {"learning_rate": 1.0, "max_grad_norm": 0.0, "bf16": False, "report_to": []}
    return Recipe(
        "two",
        seed=3,
        model={**model, "precision": "fp32", "max_frames": 2},
        data={"kind": "triplets", "manifest": manifest},
        objective={"kind": "synvita", "consistency": 1.0, "explanation": 0.5},
        training=training,
    )


def one_of(number: int, world: int, port: int, source: str, manifest: str, folder: str, device: str) -> None:
    """One of `world` processes that train; it writes its adapters, and the device of every weight."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif world == 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = "0"
    os.environ |= {"LOCAL_RANK": str(number), "RANK": str(number), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    model = train(recipe(source, manifest), Path(folder, f"run{world}"))
    weights = {name: value.detach().cpu() for name, value in model.named_parameters() if value.requires_grad}
    devices = sorted({str(value.device) for value in model.parameters()})
    torch.save((weights, devices), Path(folder, f"{world}-{number}.pt"))


def run(world: int, *arguments: str) -> None:
    port = free_port()
    run_processes(one_of, (world, port, *arguments), world)


def triplet(row: Row, video: str, synthetic: str) -> Row:
    """A triplet with a synthetic video and an explanation."""
    text = f"{row.id} to the right"
    made = {"video": synthetic, "text": text, "role": "negative", "place": 0, "index": 0, "duration": 10.0}
    negative = {"text": text, "misalignment": "relation", "explanation": "To the left."}
    caption = replace(row.captions[0], text=f"{row.id} to the left", sentences=())
    meta = {"negatives": [negative], "synthetic": [{**made, "weighing": {"own": 0.9, "other": 0.2}}]}
    return replace(row, video=video, captions=(caption,), meta=meta)


@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cpu", marks=pytest.mark.slow),
        pytest.param("cuda", marks=pytest.mark.skipif(GPUS < 2, reason=f"needs two GPUs, and there are {GPUS}")),
    ],
)
def test_two_processes_train_as_one_each_on_its_own_device(device: str, worlds_manifest: Path, tmp_path: Path) -> None:
    rows = [row for row in read_manifest(worlds_manifest) if row.split == "train"][:4]
    videos = [str(worlds_manifest.parent / row.video) for row in rows]
    triplets = [triplet(row, videos[i], videos[i - 1]) for i, row in enumerate(rows)]
    manifest = write_manifest(tmp_path / "manifest.jsonl", triplets)
    arguments = (str(build("video_llava", tmp_path / "model")), str(manifest), str(tmp_path), device)
    for world in (1, 2):
        run(world, *arguments)
    (alone, _), (first, one), (second, other) = (torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    assert [one, other] == ([["cuda:0"], ["cuda:1"]] if device == "cuda" else [["cpu"], ["cpu"]])
    assert any("lora_B" in name and value.abs().sum() > 0 for name, value in alone.items())
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=0, atol=1e-3 if device == "cuda" else 2e-5)
