"""Each of several processes takes its own GPU, also for quantized weights."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from transformers import AutoModelForImageTextToText

from mova.errors import UsageError
from mova.models.precision import choose_device, refuse_spreading
from mova.models.video_llm import model as video_llm
from mova.models.video_llm.model import VideoLLM
from tests.support.ports import free_port
from tests.support.processes import run_processes
from tests.support.tiny_videollms import build


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("world", "local", "gpus", "expected"),
    [
        (None, None, 2, "cuda"),
        ("1", "0", 2, "cuda"),
        ("2", "0", 2, "cuda:0"),
        ("2", "1", 2, "cuda:1"),
        ("2", "1", 1, "cuda"),
    ],
)
def test_the_default_device_is_that_of_the_process(
    world: str | None, local: str | None, gpus: int, expected: str, two_gpus: pytest.MonkeyPatch
) -> None:
    two_gpus.setattr(torch.cuda, "device_count", lambda: gpus)
    for name, value in (("WORLD_SIZE", world), ("LOCAL_RANK", local)):
        if value is not None:
            two_gpus.setenv(name, value)
    assert choose_device(None) == torch.device(expected)
    assert choose_device("cpu") == torch.device("cpu")


def test_more_processes_than_gpus_and_maps_over_all_gpus_are_refused(two_gpus: pytest.MonkeyPatch) -> None:
    refuse_spreading("auto")
    two_gpus.setenv("WORLD_SIZE", "3")
    two_gpus.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match="process 2 of this machine has no GPU of its own: it has 2"):
        choose_device(None)
    with pytest.raises(UsageError, match="device_map 'auto' would put the model of each process on the GPUs of all"):
        refuse_spreading("auto")
    refuse_spreading({"": "cuda:1"})


def one_of_two(number: int, port: int, source: str, folder: str) -> None:
    """A process of two that loads a quantized model, with the weights' device map recorded instead of followed."""
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(number), "RANK": str(number), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=number, world_size=2)
    cuda: object = torch.cuda
    for name, value in (("is_available", True), ("device_count", 2), ("get_device_capability", (8, 0))):
        setattr(cuda, name, lambda *_, value=value: value)
    seen: list[str] = []
    load = AutoModelForImageTextToText.from_pretrained

    def recording(path: Path, **options: object) -> object:
        seen.append(str(options.pop("device_map")))
        options.pop("quantization_config")
        return load(path, **options)

    AutoModelForImageTextToText.from_pretrained = recording  # type: ignore[method-assign,assignment]
    video_llm.find_spec = lambda name: object()  # type: ignore[attr-defined,assignment]
    VideoLLM.from_pretrained(source, precision="fp32", quantise="8bit")
    gathered: list[list[str]] = [[], []]
    dist.all_gather_object(gathered, seen)
    if number == 0:
        (Path(folder) / "maps.json").write_text(json.dumps(gathered))


@pytest.mark.slow
def test_two_processes_put_quantized_weights_on_their_own_gpus(tmp_path: Path) -> None:
    source = build("video_llava", tmp_path / "model")
    run_processes(one_of_two, (free_port(), str(source), str(tmp_path)), 2)
    first, second = json.loads((tmp_path / "maps.json").read_text())
    assert (first, second) == (
        ["{'': device(type='cuda', index=0)}"],
        ["{'': device(type='cuda', index=1)}"],
    )
