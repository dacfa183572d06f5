"""The extra `natural` as a whole, by the command line: with it, without it, and after it was uninstalled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from mova.models.natural import weights
from mova.worlds.slideshow import write_slideshow

Call = Callable[..., tuple[int, str, str]]
PHOTOGRAPHS = {"garden.mp4": "flower.jpg", "travel.mp4": "china.jpg"}
INSTALL = "pip install 'mova[natural]'"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for film, photograph in PHOTOGRAPHS.items():
        write_slideshow(folder / film, [np.asarray(load_sample_image(photograph))[::2, ::2]], seconds=1.0)
    return folder


def uninstall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)


def test_without_the_extra_each_command_says_what_to_install_and_writes_nothing(
    films: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninstall(monkeypatch)
    index = films.parent / "index"
    for command in (("index", films, "--index", index), ("score", films / "garden.mp4", "a flower")):
        code, out, err = call(*command, "--model", "mova-natural")
        assert (code, out) == (1, "")
        assert err.strip().endswith(INSTALL)
    assert not index.exists()


@pytest.mark.skipif(not weights.is_installed(), reason="the extra `natural` is not installed")
def test_an_index_answers_also_after_the_extra_was_uninstalled(
    films: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = films.parent / "index"
    assert call("index", films, "--index", index, "--model", "mova-natural")[0] == 0
    assert "mova-natural" in call("status", "--index", index)[1]
    queries = {"a flower in a garden": "garden.mp4", "an old temple": "travel.mp4"}
    answers = {}
    for text, film in queries.items():
        code, out, _ = call("search", text, "--index", index, "--json")
        answers[text] = json.loads(out)["results"]
        assert code == 0
        assert Path(answers[text][0]["video"]).name == film
    code, out, _ = call("search", "tax forms on a desk", "--index", index)
    assert code == 0
    assert out.startswith("no evidence that anything here shows that")
    assert "mova-natural recognizes only 10%" in " ".join(out.split())
    uninstall(monkeypatch)
    for text, answer in answers.items():
        assert json.loads(call("search", text, "--index", index, "--json")[1])["results"] == answer
    write_slideshow(films / "new.mp4", [np.zeros((64, 64, 3), np.uint8)], seconds=1.0)
    code, _, err = call("index", films, "--index", index)
    assert code == 1
    assert err.strip().endswith(INSTALL)
