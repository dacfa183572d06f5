"""Reading checkpoints: families beyond CLIP and SigLIP, what is refused and how it is said."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertTokenizer, ChineseCLIPConfig, ChineseCLIPModel, T5Config, T5Model

from mova.errors import ModelError, UsageError
from mova.models.precision import choose_device, choose_dtype, hash_weights
from mova.models.two_tower.model import TwoTower
from mova.types import Frames
from tests.support.tiny_models import SIZE, TOWER, WIDTH, save_checkpoint


def test_another_family_with_the_same_interface(tmp_path: Path) -> None:
    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "man", "tea", "一", "个", "人"]
    tokenizer = BertTokenizer(vocab={letter: i for i, letter in enumerate(letters)})
    text = TOWER | {"vocab_size": len(letters), "max_position_embeddings": 40}
    vision = TOWER | {"image_size": SIZE, "patch_size": 8}
    config = ChineseCLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
    torch.manual_seed(0)
    reference = ChineseCLIPModel(config).eval()
    image = {"image_processor_type": "ChineseCLIPImageProcessor", "size": {"shortest_edge": SIZE}}
    folder = save_checkpoint(tmp_path / "chinese", reference, tokenizer, image | {"crop_size": SIZE})
    model = TwoTower.from_checkpoint(folder, precision="fp32", device="cpu")
    texts = ["一个人", "man tea man"]
    pixels = torch.zeros(1, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = reference.get_text_features(**tokenizer(texts, padding=True, return_tensors="pt"))
        frames = reference.get_image_features(pixel_values=pixels).pooler_output
    embedding = model.encode_text(texts)
    torch.testing.assert_close(embedding.pooled, expected.pooler_output, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(embedding.tokens[:, 0], embedding.pooled, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.image_features(pixels), frames)
    assert model.encode_frames(Frames(np.zeros((2, 40, 60, 3), np.uint8), np.arange(2.0))).shape == (2, WIDTH)
    with pytest.raises(UsageError, match="no position table"):
        TwoTower.from_checkpoint(folder, text_length=248)


def test_hash_of_weights_depends_on_names_shapes_and_values() -> None:
    weights = {"a": torch.arange(6.0), "b": torch.ones(2)}
    assert hash_weights(weights) == hash_weights(dict(reversed(weights.items())))
    assert hash_weights(weights) != hash_weights({"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)})
    assert hash_weights(weights) != hash_weights({"a": torch.ones(2), "b": torch.arange(6.0)})
    strided = {"a": torch.arange(12.0)[::2] / 2, "b": torch.ones(2)}
    assert hash_weights(weights) == hash_weights(strided)


def test_missing_weights_are_refused(tiny_clip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_clip, tmp_path / "holes")
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights are missing.*visual_projection"):
        TwoTower.from_checkpoint(folder)
    (folder / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(ModelError, match="cannot be read"):
        TwoTower.from_checkpoint(folder)


@pytest.mark.parametrize("gone", ["preprocessor_config.json", "tokenizer.json"])
def test_missing_files_are_named(tiny_clip: Path, tmp_path: Path, gone: str) -> None:
    folder = shutil.copytree(tiny_clip, tmp_path / "holes")
    (folder / gone).unlink()
    with pytest.raises(ModelError, match=gone):
        TwoTower.from_checkpoint(folder)


def test_another_model_type_is_rejected(tmp_path: Path) -> None:
    size = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 20}
    T5Model(T5Config(**size)).save_pretrained(tmp_path / "t5")
    with pytest.raises(ModelError, match="is a t5, not a dual encoder"):
        TwoTower.from_checkpoint(tmp_path / "t5")


def test_an_unknown_image_processor_is_refused(tiny_clip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_clip, tmp_path / "other")
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "EfficientNetImageProcessor"}')
    with pytest.raises(ModelError, match="EfficientNetImageProcessor"):
        TwoTower.from_checkpoint(folder)


def test_image_settings_inside_a_processor_file(tiny_siglip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_siglip, tmp_path / "newer")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    assert TwoTower.from_checkpoint(folder).image_rule.height == SIZE


def test_devices_and_precisions() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_dtype("fp32", torch.device("cpu")) == torch.float32
    assert choose_dtype("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)
    with pytest.raises(UsageError, match="fp8"):
        choose_dtype("fp8", torch.device("cpu"))
    with pytest.raises(UsageError, match="toaster"):
        choose_device("toaster")


def test_a_folder_of_another_format_is_refused(tiny_clip: Path) -> None:
    with pytest.raises(ModelError, match="from_checkpoint"):
        TwoTower.from_pretrained(tiny_clip)


class _Attack:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("save", [lambda thing, file: file.write_bytes(pickle.dumps(thing)), torch.save])
def test_a_pickle_that_asks_to_run_code_is_refused(
    tiny_clip: Path, tmp_path: Path, save: Callable[[object, Path], object]
) -> None:
    folder = Path(shutil.copytree(tiny_clip, tmp_path / "model"))
    for weights in folder.glob("*.safetensors*"):
        weights.unlink()
    save(_Attack(tmp_path / "owned"), folder / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"asks to run code, which was not run; use a checkpoint with model\.safetensors"
    ) as error:
        TwoTower.from_checkpoint(folder)
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "owned").exists()
