"""A decoder that hangs ends as the failure of its file, in every command that decodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fakes import write_colours
from tests.support.tiny_videollms import build
from tests.video.test_isolated import broken, hang

Call = Callable[..., tuple[int, str, str]]

STOPPED = "film.mp4: decoding stood still for 0.7 s and was ended"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("films") / "film.mp4", [("red", 2), ("green", 2)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
    from mova.worlds.batches import vocabulary

    folder = tmp_path_factory.mktemp("model")
    sizes = {"image_size": 32, "stem": [8, 8], "hidden_size": 16, "heads": 2, "embedding_dim": 16}
    WorldsTiny(WorldsTinyConfig(vocabulary=vocabulary(), background=["a blue ring"], **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def index(film: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mova.models.registry import load
    from mova.search.index import Index

    folder = tmp_path_factory.mktemp("index") / "i"
    Index(folder, load(model)).add([film])
    return folder


def test_search_exports_no_clip_of_a_file_that_hangs(
    call: Call, film: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, hang("write_clip"))
    words = ("search", "A red star.", "--index", index, "-k", 1, "--export", tmp_path / "clips", "--time-limit", 0.7)
    code, out, err = call(*words)
    assert (code, "film.mp4" in out, STOPPED in err) == (1, True, True)
    assert list((tmp_path / "clips").iterdir()) == []


def test_search_exports_from_a_child_process(call: Call, index: Path, tmp_path: Path) -> None:
    code, _, err = call("search", "A red star.", "--index", index, "-k", 1, "--export", tmp_path / "clips")
    assert (code, "wrote" in err) == (0, True)
    assert [path.suffix for path in (tmp_path / "clips").iterdir()] == [".mp4"]


@pytest.mark.parametrize("ending", [".png", ".html"])
def test_a_film_strip_that_hangs_costs_the_plot_only(
    call: Call, film: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    broken(monkeypatch, hang("stream_times"))
    table, plot = tmp_path / "t.csv", tmp_path / f"plot{ending}"
    words = ("align", film, "--text", "A red star.", "--index", index, "--plot", plot, "--csv", table)
    code, out, err = call(*words, "--time-limit", 0.7)
    assert (code, "A red star." in out, STOPPED in err) == (1, True, True)
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_film_strip_is_drawn_from_a_child_process(call: Call, film: Path, model: Path, tmp_path: Path) -> None:
    words = ("align", film, "--text", "A red star.", "--model", model)
    code, _, _ = call(*words, "--plot", tmp_path / "plot.html")
    assert code == 0
    assert (tmp_path / "plot.html").read_text(encoding="utf-8").count("data:image/jpeg") > 4


def test_features_by_a_rule_skip_a_file_that_hangs(
    call: Call, film: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    row = {"id": "a", "video": "film.mp4", "duration": 4.0, "split": "train", "captions": []}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    options = ("--rule", "linspace", "--frames", 3, "--model", model)
    code, out, err = call("data", "features", tmp_path / "manifest.jsonl", tmp_path / "store", *options, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["frames"] == 3
    broken(monkeypatch, hang("stream_count"))
    words = ("data", "features", tmp_path / "manifest.jsonl", tmp_path / "other", *options)
    code, _, err = call(*words, "--time-limit", 0.7)
    assert (code, STOPPED in err) == (1, True)


def test_a_video_llm_scores_no_file_that_hangs(
    call: Call, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("llava_onevision", tmp_path / "llm")
    words = ("score", film, "A red star.", "--model", model, "--max-frames", 2)
    code, _, err = call(*words)
    assert code == 0, err
    broken(monkeypatch, hang("stream_count"))
    code, _, err = call(*words, "--time-limit", 0.7)
    assert (code, STOPPED in err) == (1, True)


@pytest.mark.parametrize("name", ["stream", "stream_times"])
def test_explain_stops_a_decoder_that_hangs(
    call: Call, film: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("mova.video.isolated.Decoding.isolated.__wrapped__.__defaults__", (0.7,))
    broken(monkeypatch, hang(name))
    code, _, err = call("explain", film, "--text", "A star.", "--model", model, "--plot", tmp_path / "a.png")
    assert (code, STOPPED in err) == (1, True)
    assert list(tmp_path.iterdir()) == []
