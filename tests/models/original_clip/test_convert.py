"""Files of CLIP's first layout give the vectors that the first code gives; nothing in a file is run."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mova.errors import ModelError, UsageError
from mova.models.original_clip.archive import read_weights
from mova.models.original_clip.convert import convert
from mova.models.original_clip.tokenizer import read_tokenizer
from mova.models.two_tower.model import TwoTower
from tests.support.original_clip import Holder, OriginalClip

TEXTS = ["A man opens a door.", "the dog runs across the street; it's raining", "naïve café"]


@pytest.fixture(scope="module")
def tokens(tiny_clip: Path) -> int:
    return len(TwoTower.from_checkpoint(tiny_clip).tokenizer)


def original(tokens: int, *, quick: bool = True) -> OriginalClip:
    torch.manual_seed(0)
    return OriginalClip(tokens, quick=quick).eval()


def saved(kind: str, model: OriginalClip, folder: Path) -> Path:
    weights = model.state_dict()
    if kind == "OpenAI":
        path = folder / "ViT-tiny.pt"
        torch.jit.script(Holder(model)).save(str(path))
    elif kind == "OpenAI, half":
        path = folder / "ViT-tiny.pt"
        torch.jit.script(Holder(model).half()).save(str(path))
    elif kind == "CLIP4Clip":
        path = folder / "pytorch_model.bin.4"
        head = {
            "transformerClip.resblocks.0.ln_1.weight": torch.ones(48),
            "frame_position_embeddings.weight": torch.ones(9, 48),
        }
        torch.save({f"clip.{name}": value for name, value in weights.items()} | head, path)
    elif kind == "open_clip":
        path = folder / "open_clip_pytorch_model.bin"
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in weights.items()}}, path)
    else:
        path = folder / "open_clip_model.safetensors"
        save_file({name: value.clone() for name, value in weights.items()}, path)
    return path


@pytest.mark.parametrize("kind", ["OpenAI", "OpenAI, half", "CLIP4Clip", "open_clip", "open_clip, safetensors"])
@torch.no_grad()
def test_a_converted_file_gives_the_vectors_of_the_first_code(
    kind: str, tokens: int, tiny_clip: Path, tmp_path: Path
) -> None:
    quick = kind.startswith(("OpenAI", "CLIP4Clip"))
    model = original(tokens, quick=quick)
    written = convert(saved(kind, model, tmp_path), tmp_path / "out", tiny_clip)
    model.float()
    converted = TwoTower.from_checkpoint(tmp_path / "out", precision="fp32", device="cpu")
    rows = [converted.tokenizer(text)["input_ids"] for text in TEXTS]
    ids = torch.tensor([row + [0] * (77 - len(row)) for row in rows])
    torch.testing.assert_close(converted.encode_text(TEXTS).pooled, model.encode_text(ids), atol=1e-5, rtol=1e-4)
    pixels = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(converted.image_features(pixels), model.visual(pixels), atol=1e-5, rtol=1e-4)
    assert written.activation == ("quick_gelu" if quick else "gelu")
    assert len(written.left_out) == (2 if kind == "CLIP4Clip" else 0)


def test_another_activation_than_the_guess(tokens: int, tiny_clip: Path, tmp_path: Path) -> None:
    path = saved("open_clip", original(tokens), tmp_path)
    assert convert(path, tmp_path / "out", tiny_clip, "quick_gelu").activation == "quick_gelu"
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["text_config"]["hidden_act"] == config["vision_config"]["hidden_act"] == "quick_gelu"


def test_the_tokenizer_can_be_read_from_the_first_vocabulary_file(tiny_clip: Path, tmp_path: Path) -> None:
    reference = TwoTower.from_checkpoint(tiny_clip).tokenizer
    merges = [" ".join(pair) for pair in json.loads(reference.backend_tokenizer.to_str())["model"]["merges"]]
    path = tmp_path / "bpe_simple_vocab.txt.gz"
    path.write_bytes(gzip.compress("\n".join(["# version 0.2", *merges, "un used", ""]).encode()))
    tokenizer = read_tokenizer(path, rows=512 + len(merges) + 2)
    for text in [*TEXTS, "Tea, tea & TEA!", "茶 🍵"]:
        mine, theirs = tokenizer(text)["input_ids"], reference(text)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(mine) == reference.convert_ids_to_tokens(theirs)
    assert tokenizer.convert_ids_to_tokens([0, 93, 94, 187, 188, 256]) == ["!", "~", "¡", "ÿ", "Ā", "!</w>"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (len(tokenizer) - 2, len(tokenizer) - 1)
    with pytest.raises(ModelError, match="fewer"):
        read_tokenizer(path, rows=100_000)


class Attack:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch attacked",)


def torchscript_attack(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/constants.pkl", b"")
        archive.writestr("evil/data.pkl", pickle.dumps(Attack()))


@pytest.mark.parametrize("kind", ["pickle", "TorchScript"])
def test_code_in_a_file_is_not_run(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pt"
    if kind == "pickle":
        torch.save({"visual.proj": Attack()}, path)
    else:
        torchscript_attack(path)
    with pytest.raises(ModelError, match="was not run"):
        read_weights(path)
    assert not (tmp_path / "attacked").exists()


def test_what_cannot_be_converted_is_named(tokens: int, tiny_clip: Path, tmp_path: Path) -> None:
    good = saved("open_clip, safetensors", original(tokens), tmp_path)
    weights, _ = read_weights(good)
    cases = {
        "ResNet": {**weights, "visual.layer1.0.conv1.weight": torch.ones(1)},
        "such as visual.proj": {name: value for name, value in weights.items() if name != "visual.proj"},
        "are not those of CLIP": {k: v for k, v in weights.items() if k != "transformer.resblocks.1.ln_1.bias"},
        "the weights are for 7": {**weights, "token_embedding.weight": torch.ones(7, 64)},
    }
    for message, content in cases.items():
        torch.save(content, tmp_path / "bad.bin")
        with pytest.raises(ModelError, match=message):
            convert(tmp_path / "bad.bin", tmp_path / "out", tiny_clip)
        assert not (tmp_path / "out").exists(), message
    with pytest.raises(ModelError, match="no such file"):
        convert(tmp_path / "absent.pt", tmp_path / "out", tiny_clip)
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(ModelError, match=r"text\.pt"):
        convert(tmp_path / "text.pt", tmp_path / "out", tiny_clip)
    with pytest.raises(UsageError, match="not an empty folder"):
        convert(good, tiny_clip, tiny_clip)
    with pytest.raises(ModelError, match="no tokenizer of CLIP"):
        convert(good, tmp_path / "out", tmp_path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_one_message(keep: float, tokens: int, tiny_clip: Path, tmp_path: Path) -> None:
    path = saved("OpenAI", original(tokens), tmp_path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ModelError):
        convert(path, tmp_path / "out", tiny_clip)


def test_the_command_converts_and_says_how_to_use_it(
    tokens: int, tiny_clip: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    path = saved("CLIP4Clip", original(tokens), tmp_path)
    code, out, err = call("models", "convert", path, tmp_path / "out", "--tokenizer", tiny_clip)
    assert code == 0
    assert f"--model {tmp_path / 'out'}" in out.replace("\n", " ")
    assert "left out 2 weights" in err
    code, _, err = call("models", "convert", path, tmp_path / "other", "--activation", "relu")
    assert code == 2
    assert "quick_gelu" in err
    code, _, err = call("models", "convert", path)
    assert code == 2
    assert "convert FILE FOLDER" in err
