"""Text-to-video pipelines of diffusers: tiny random ones of several families, loaded like those from the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mova.data.manifest import read_manifest, write_manifest
from mova.data.synthetic import synthetic_videos
from mova.errors import ModelError, UsageError
from mova.text_to_video.diffusers_pipeline import Settings, TextToVideo, family, revision_of
from mova.video.probe import probe
from tests.support.plain_generator import ROWS

pytest.importorskip("diffusers", reason="the extra `t2v` is not installed")
Call = Callable[..., tuple[int, str, str]]
SMALL = {"cogvideox": Settings(frames=9, height=16, width=16, steps=2)}
SMALL["ltx"] = Settings(frames=9, height=32, width=32, steps=2, fps=12.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    from tests.support.tiny_generators import build

    root = tmp_path_factory.mktemp("generators")
    return lambda kind: root / kind if (root / kind).is_dir() else build(kind, root / kind)


@pytest.mark.parametrize("kind", ["cogvideox", "ltx"])
def test_a_seed_gives_a_video(kind: str, folders: Callable[[str], Path]) -> None:
    model = TextToVideo.from_pretrained(folders(kind), SMALL[kind], dtype="fp32", device="cpu")
    side = SMALL[kind].height
    first = model.render("a man runs", 3)
    assert first.shape == (9, side, side, 3)
    assert first.dtype == np.uint8
    assert first.std() > 10
    assert np.array_equal(model.render("a man runs", 3), first)
    assert not np.array_equal(model.render("a man runs", 4), first)
    assert not np.array_equal(model.render("a red dog sits", 3), first)
    assert model.identity["steps"] == 2
    assert model.identity["frames"] == 9
    assert model.identity["revision"] == revision_of(folders(kind))
    json.dumps(model.identity)


def test_frame_rate_comes_from_settings_then_pipeline_then_family(folders: Callable[[str], Path]) -> None:
    ltx = TextToVideo.from_pretrained(folders("ltx"), SMALL["ltx"], dtype="fp32")
    assert ltx.fps == 12.0
    assert ltx.identity["arguments"]["frame_rate"] == 12.0
    default = TextToVideo(ltx.pipeline, Settings(), {})
    assert default.fps == 25.0
    assert default.identity["guidance"] == 3
    assert family("CogVideoXPipeline")["fps"] == 8
    assert family("Cosmos2TextToVideo")["fps"] == 16
    assert family("CosmosTextToVideo")["fps"] == 30
    assert family("Nobody") == {"fps": 8}


def test_components_that_need_float32_keep_it(folders: Callable[[str], Path]) -> None:
    settings = Settings(frames=5, height=16, width=16, steps=1)
    model = TextToVideo.from_pretrained(folders("wan"), settings, dtype="bf16", device="cpu")
    assert model.pipeline.transformer.dtype == torch.bfloat16
    assert model.pipeline.vae.dtype == torch.float32
    assert model.fps == 16.0
    assert model.identity["dtype"] == "bfloat16"
    assert model.render("a man runs", 3).shape == (5, 16, 16, 3)


class OldName:
    def __call__(self, prompt: str, video_length: int = 4, generator: Any = None, negative_prompt: str = "") -> Any:
        return SimpleNamespace(videos=np.full((1, video_length, 8, 8, 3), 0.5))


class Image:
    def __call__(self, prompt: str, height: int = 8) -> Any: ...


class Moved:
    def __call__(self, image: Any, prompt: str, num_frames: int = 4) -> Any: ...


def test_settings_are_mapped_to_arguments_and_unknown_ones_raise() -> None:
    model = TextToVideo(OldName(), Settings(frames=6, fps=10, options={"negative_prompt": "blurred"}), {})
    assert model.render("x", 0).shape == (6, 8, 8, 3)
    assert (model.fps, model.identity["frames"]) == (10.0, 6)
    with pytest.raises(UsageError, match="no setting for --steps"):
        TextToVideo(OldName(), Settings(steps=3), {})
    with pytest.raises(UsageError, match=r"option size is unknown; it has video_length, negative_prompt"):
        TextToVideo(OldName(), Settings(options={"size": 3}), {})
    with pytest.raises(UsageError, match="option prompt is reserved"):
        TextToVideo(OldName(), Settings(options={"prompt": "y"}), {})
    with pytest.raises(ModelError, match="has no number of frames"):
        TextToVideo(Image(), Settings(), {})
    with pytest.raises(ModelError, match="needs image"):
        TextToVideo(Moved(), Settings(), {})


def test_load_errors_name_the_cause(tmp_path: Path, folders: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match=r"has no model_index\.json"):
        TextToVideo.from_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no such folder, and not available"):
        TextToVideo.from_pretrained("nobody/nothing")
    (tmp_path / "model_index.json").write_text('{"_class_name": "NoSuchPipeline", "_diffusers_version": "0.42.1"}')
    with pytest.raises(ModelError, match="cannot load it as NoSuchPipeline"):
        TextToVideo.from_pretrained(tmp_path)
    with pytest.raises(UsageError, match="motion adapter needs"):
        TextToVideo.from_pretrained(folders("cogvideox"), motion_adapter=tmp_path)
    with pytest.raises(UsageError, match="revision"):
        TextToVideo.from_pretrained(folders("cogvideox"), revision="main")


def test_an_image_model_renders_videos_with_an_adapter(folders: Callable[[str], Path]) -> None:
    adapter = folders("motion_adapter")
    settings = Settings(frames=4, height=16, width=16, steps=2)
    model = TextToVideo.from_pretrained(
        folders("stable_diffusion"), settings, motion_adapter=adapter, dtype="fp32", device="cpu"
    )
    assert model.identity["pipeline"] == "AnimateDiffPipeline"
    assert model.identity["adapter_revision"] == revision_of(adapter)
    assert model.render("a man runs", 3).shape == (4, 16, 16, 3)
    with pytest.raises(ModelError, match="StableDiffusionPipeline cannot render videos"):
        TextToVideo.from_pretrained(folders("stable_diffusion"), dtype="fp32")


def test_synthesize_from_the_command_line(call: Call, folders: Callable[[str], Path], tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "triplets.jsonl", ROWS)
    out = tmp_path / "deep" / "out"
    words = ["data", "synthesize", manifest, out, "--model", folders("cogvideox"), "--frames", 9, "--height", 16]
    words += ["--width", 16, "--steps", 1, "--dtype", "fp32", "--option", "use_dynamic_cfg=true", "--json"]
    code, printed, _ = call(*words)
    report = json.loads(printed)
    assert (code, report["made"], report["kept"], report["failed"]) == (0, 2, 0, [])
    rows = read_manifest(out / "manifest.jsonl")
    assert rows[0].video == str(tmp_path / "a.mp4")
    (video,) = synthetic_videos(rows[0])
    assert video.video.startswith("videos/v1-action-")
    assert video.text == "a man sits"
    generator = video.generator
    assert generator["pipeline"] == "CogVideoXPipeline"
    assert generator["arguments"]["use_dynamic_cfg"] is True
    assert {"diffusers", "torch", "transformers", "mova"} <= generator["versions"].keys()
    info = probe(out / video.video)
    assert (info.width, info.height) == (16, 16)
    assert abs(info.duration - 9 / 8) < 0.01
    code, printed, _ = call(*words)
    assert (code, json.loads(printed)["kept"]) == (0, 2)
    assert read_manifest(out / "manifest.jsonl") == rows
    code, printed, _ = call("data", "synthesize", manifest, tmp_path / "texts", "--prompts", "--captions", "all")
    assert (tmp_path / "texts" / "prompts.txt").read_text().splitlines()[:3] == ["a man sits", "a man runs", "a cat"]


def test_invalid_arguments_exit_with_2(call: Call, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "triplets.jsonl", ROWS)
    for words in (
        [],
        ["--prompts", "--model", "x"],
        ["--join", tmp_path],
        ["--pattern", "{id}.mp4", "--model", "x"],
        ["--model", "x", "--option", "steps"],
        ["--model", "x", "--captions", "false"],
    ):
        assert call("data", "synthesize", manifest, tmp_path / "out", *words)[0] == 2, words
