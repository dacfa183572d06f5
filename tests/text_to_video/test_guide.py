"""Other text encoders in diffusers pipelines: tiny random ones of several families, held against the pipelines' own."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mova.data.manifest import write_manifest
from mova.errors import ModelError, UsageError
from mova.models.mova.model import Mova
from mova.models.registry import load
from mova.models.two_tower.model import TwoTower
from mova.models.two_tower.text_processor import stretch_positions
from mova.text_to_video.diffusers_pipeline import Settings, TextToVideo
from mova.text_to_video.guide import PromptEncoder, TextGuide, guide, require_replaceable
from mova.text_to_video.projection import Reader, distinct_texts, fit_projection, solve_ridge
from tests.support.plain_generator import ROWS
from tests.support.tiny_models import CORPUS

pytest.importorskip("diffusers", reason="the extra `t2v` is not installed")
Call = Callable[..., tuple[int, str, str]]
WORDS = ["a", "man", "opens", "a", "door", "then", "he", "pours", "tea", "into", "a", "white", "cup"]
PROMPT = " ".join((WORDS * 20)[:200])
CHANGED = " ".join([*(WORDS * 20)[:150], "dog", *(WORDS * 20)[151:200]])
"""Differs from `PROMPT` in one word, long after token 77."""
TEXTS = sorted({" ".join(text.split()[i:j]) for text in CORPUS for i in range(4) for j in range(6, 12)})
FAMILIES = ("animate_diff", "text_to_video_sd", "animate_diff_sdxl")


@pytest.fixture(scope="module")
def model(tiny_clip: Path) -> TwoTower:
    loaded = TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu", text_length=248)
    assert isinstance(loaded, TwoTower)
    return loaded


def build(kind: str, **parts: Any) -> Any:
    from tests.support import tiny_generators

    with torch.random.fork_rng():
        torch.manual_seed(5)
        pipeline = tiny_generators.BUILDERS[kind](**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def latents(pipeline: Any, prompt: str = PROMPT, **options: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    common = {"num_frames": 2, "height": 16, "width": 16, "num_inference_steps": 1, "output_type": "latent"}
    output = pipeline(prompt=prompt, generator=generator, **common | options).frames
    return torch.as_tensor(output)


def encoded(pipeline: Any, prompt: str, guided: bool, **options: Any) -> Any:
    arguments = {"prompt": prompt, "device": "cpu", "do_classifier_free_guidance": guided, **options}
    if "num_images_per_prompt" in inspect.signature(pipeline.encode_prompt).parameters:
        arguments["num_images_per_prompt"] = 1
    return pipeline.encode_prompt(**arguments)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_word_after_token_77_counts_only_with_the_long_encoder(kind: str, model: TwoTower, tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    pipeline = build(kind)
    assert torch.equal(latents(pipeline), latents(pipeline, CHANGED))
    guided = guide(pipeline, model)
    assert (guided.component, guided.length, guided.fit) == ("text_encoder", 248, None)
    long = latents(pipeline)
    assert not torch.allclose(long, latents(pipeline, CHANGED), atol=1e-6)
    states = encoded(pipeline, PROMPT, True)[0]
    assert states.shape[1] == 248
    pipeline.save_pretrained(tmp_path)
    again = DiffusionPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert again.tokenizer.model_max_length == 248
    assert torch.equal(encoded(again, PROMPT, True)[0], states)
    assert torch.allclose(latents(again), long, atol=1e-5)


def with_weights_of(encoder: Any, model: TwoTower) -> TwoTower:
    """A model whose text tower is a pipeline's own."""
    same = copy.deepcopy(model)
    same.backbone.text_model = encoder
    same.backbone.config.text_config = encoder.config
    return same


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_same_weights_give_the_same_latents(kind: str, model: TwoTower) -> None:
    pipeline = build(kind)
    arguments = {"negative_prompt": "a red circle", "guidance_scale": 5.0}
    before = latents(pipeline, "a man opens a door", **arguments), latents(pipeline, PROMPT)
    guide(pipeline, with_weights_of(pipeline.text_encoder, model), length=77)
    after = latents(pipeline, "a man opens a door", **arguments), latents(pipeline, PROMPT)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_the_states_are_those_of_the_model(model: TwoTower) -> None:
    from tests.support.tiny_generators import clip_text

    pipeline = build("animate_diff", **clip_text(layers=2))
    guide(pipeline, model)
    states = encoded(pipeline, PROMPT, False)[0][0]
    ids, dropped = model.text_rule.token_ids(model.tokenizer, [PROMPT])
    own = model.dense_texts(torch.tensor(ids), torch.ones(1, len(ids[0]), dtype=torch.bool))[0]
    assert dropped == [0]
    assert len(own) == 202
    assert torch.allclose(states[: len(own)], own, atol=1e-5)
    other = build("animate_diff", **clip_text(layers=2))
    guide(other, Mova.from_backbone(model))
    assert torch.equal(encoded(other, PROMPT, False)[0][0], states)


def test_negative_prompts_and_guidance(model: TwoTower) -> None:
    pipeline = build("animate_diff")
    guide(pipeline, model)
    positive, negative = encoded(pipeline, PROMPT, True, negative_prompt=CHANGED)
    assert torch.equal(negative, encoded(pipeline, CHANGED, False)[0])
    alone = latents(pipeline, guidance_scale=1.0)
    assert torch.equal(alone, latents(pipeline, guidance_scale=1.0, negative_prompt=CHANGED)), "1.0 is no guidance"
    assert not torch.equal(alone, latents(pipeline, guidance_scale=4.0))
    one, other = (latents(pipeline, guidance_scale=4.0, negative_prompt=text) for text in (PROMPT, CHANGED))
    assert torch.allclose(one, alone, atol=1e-6), "a prompt guided away from itself is the prompt"
    assert not torch.allclose(other, alone, atol=1e-6), "a negative prompt counts past token 77"
    embedded = {"prompt": None, "prompt_embeds": positive, "negative_prompt_embeds": negative}
    assert torch.equal(latents(pipeline, guidance_scale=4.0, **embedded), other)


def test_layers_that_a_pipeline_leaves_out_are_left_out(model: TwoTower) -> None:
    pipeline = build("animate_diff")
    assert pipeline.text_encoder.config.num_hidden_layers == 1
    assert guide(pipeline, model).layers == 1
    ids = torch.tensor(model.text_rule.token_ids(model.tokenizer, ["a white cup"])[0])
    tower = model.towers[1]
    first = tower(ids, output_hidden_states=True).hidden_states[1]
    assert torch.allclose(pipeline.text_encoder(ids).last_hidden_state, tower.final_layer_norm(first), atol=1e-5)
    assert len(tower.encoder.layers) == 2, "the model itself is unchanged"


def test_the_second_encoder_of_sdxl_is_stretched(model: TwoTower) -> None:
    pipeline = build("animate_diff_sdxl")
    table = pipeline.text_encoder_2.text_model.embeddings.position_embedding.weight.detach().clone()
    assert guide(pipeline, model).stretched == ("text_encoder_2",)
    longer = pipeline.text_encoder_2.text_model.embeddings.position_embedding.weight
    assert torch.equal(longer, stretch_positions(table, 248))
    states, negative, pooled, _ = encoded(pipeline, PROMPT, True, negative_prompt=CHANGED)
    assert states.shape == negative.shape == (1, 248, 48)
    assert pooled.shape == (1, 16)


def test_an_encoder_of_another_width_is_mapped(model: TwoTower) -> None:
    from tests.support.tiny_generators import clip_text

    wide = PromptEncoder(**clip_text(48, 1))
    with pytest.raises(UsageError, match="at least 20 different texts"):
        guide(wide, model, texts=["a man"])
    assert wide.tokenizer.model_max_length == 77, "nothing was changed"
    guided = guide(wide, model, texts=TEXTS)
    assert guided.fit is not None
    assert guided.fit.projection.weight.shape == (48, 32)
    assert 0.2 < guided.fit.explained <= 1
    states = wide.encode([PROMPT, CHANGED])
    assert states.shape == (2, 248, 48)
    assert torch.equal(states[0, :100], states[1, :100])
    assert not torch.allclose(states[0], states[1])


def test_a_map_is_saved_with_the_pipeline(model: TwoTower, tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    pipeline = build("ltx")
    fitted = guide(pipeline, model, texts=TEXTS).fit
    assert fitted is not None
    pipeline.save_pretrained(tmp_path)
    again = DiffusionPipeline.from_pretrained(tmp_path)
    assert type(again.text_encoder).__name__ == "ProjectedTextEncoder"
    ids = again.tokenizer([PROMPT], return_tensors="pt").input_ids
    expected = fitted.projection(model.towers[1](ids).last_hidden_state)
    assert torch.allclose(again.text_encoder(ids)[0], expected, atol=1e-5)
    with pytest.raises(ModelError, match="asks for 300 tokens, and its text encoder reads 248"):
        again.text_encoder(torch.ones(1, 300, dtype=torch.long))
    with pytest.raises(ModelError, match="its text_encoder is a ProjectedTextEncoder"):
        guide(again, model)


@pytest.mark.parametrize("kind", ["ltx", "cogvideox", "wan"])
def test_pipelines_with_t5_render_with_a_map(kind: str, model: TwoTower, tmp_path: Path) -> None:
    build(kind).save_pretrained(tmp_path)
    settings = Settings(frames=9, height=32, width=32, steps=1)
    chosen = TextGuide(model, texts=TEXTS)
    generator = TextToVideo.from_pretrained(tmp_path, settings, dtype="fp32", device="cpu", text_guide=chosen)
    assert generator.guided is not None
    assert generator.identity["text_encoder"]["length"] == 248
    first = generator.render(PROMPT, 3)
    assert first.shape[0] == 9
    assert not np.array_equal(first, generator.render("a white cup", 3))
    json.dumps(generator.identity)


def test_a_map_finds_a_linear_relation_between_vocabularies(model: TwoTower) -> None:
    """The target's states are a linear function of the source's: the fit finds it, over other tokens too."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower, self.map = model.towers[1], nn.Linear(32, 5)

        def forward(self, ids: torch.Tensor, **_: Any) -> Any:
            output = self.tower(ids)
            output.last_hidden_state = self.map(output.last_hidden_state)
            return output

    target = Linear()
    fit = fit_projection(Reader(model.towers[1], model.tokenizer, 248), Reader(target, model.tokenizer, 77), TEXTS)
    assert fit.explained > 0.98
    x, y = np.random.default_rng(0).normal(size=(50, 3)), np.eye(3)[:, :2]
    weights, bias = solve_ridge(x, x @ y + [1.0, 2.0], ridge=0.0)
    assert np.allclose(weights, y)
    assert np.allclose(bias, [1.0, 2.0])
    with pytest.raises(UsageError, match=r"words.txt: a projection needs at least 20"):
        distinct_texts(["a", "a", " "], "words.txt")


def test_what_cannot_be_guided_is_one_error(model: TwoTower, tiny_siglip: Path) -> None:
    with pytest.raises(ModelError, match="HunyuanVideoPipeline: its text_encoder is a LlamaModel and"):
        require_replaceable({"text_encoder": "LlamaModel", "text_encoder_2": "CLIPTextModel"}, "HunyuanVideoPipeline")
    with pytest.raises(ModelError, match="has no text encoder"):
        require_replaceable({"unet": "UNet2DModel"}, "DDPMPipeline")
    pipeline = build("animate_diff")
    for other in (load(tiny_siglip, device="cpu"), load("mova-worlds-tiny", device="cpu")):
        with pytest.raises(ModelError, match="has no CLIP text tower"):
            guide(pipeline, other)
    with pytest.raises(UsageError, match="at least 3 tokens"):
        guide(pipeline, model, length=2)
    assert pipeline.tokenizer.model_max_length == 77, "nothing was changed"


def test_synthesize_with_another_text_encoder(call: Call, tiny_clip: Path, tmp_path: Path) -> None:
    build("animate_diff").save_pretrained(tmp_path / "sd")
    manifest = write_manifest(tmp_path / "triplets.jsonl", ROWS)
    words = ["data", "synthesize", manifest, tmp_path / "out", "--model", tmp_path / "sd", "--frames", 2]
    words += ["--height", 16, "--width", 16, "--steps", 1, "--dtype", "fp32", "--json"]
    guided = ["--text-encoder", tiny_clip, "--text-length", 248]
    code, printed, noted = call(*words, *guided)
    report = json.loads(printed)
    assert (code, report["made"], report["generator"]["text_encoder"]["length"]) == (0, 2, 248)
    assert "248 tokens per prompt" in noted
    assert json.loads(call(*words, *guided)[1])["kept"] == 2
    assert json.loads(call(*words)[1])["made"] == 2, "the stock encoder makes other files"
    code, _, noted = call(*words, "--text-length", 248)
    assert (code, "need --text-encoder" in noted) == (2, True)
    few = tmp_path / "few.txt"
    few.write_text("a man\n", encoding="utf-8")
    code, _, noted = call(*words, *guided, "--projection-texts", few)
    assert (code, "few.txt" in noted) == (2, True)
    code, _, noted = call(*words, "--text-encoder", tmp_path / "none")
    assert (code, "Traceback" in noted, "none" in noted) == (1, False, True)
