"""`mova explain`: a plot and a document for every method, and one message per error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mova.data.manifest import read_manifest
from mova.worlds.writer import write_worlds

Call = Callable[..., tuple[int, str, str]]
MODEL = ("--model", "mova-worlds-tiny")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A rendered video and the sentences of its caption."""
    folder = tmp_path_factory.mktemp("films")
    row = read_manifest(write_worlds(folder, 1, 12.0, "flat", 5, size=96))[0]
    return folder / row.video, [sentence.text for sentence in row.captions[0].sentences]


@pytest.mark.parametrize("method", ["subsets", "gradcam", "occlusion"])
def test_every_method_draws_and_prints_its_document(
    call: Call, film: tuple[Path, list[str]], tmp_path: Path, method: str
) -> None:
    video, sentences = film
    (tmp_path / "caption.txt").write_text(" ".join(sentences), encoding="utf-8")
    picture = tmp_path / "picture.png"
    options = ("--text-file", tmp_path / "caption.txt", "--method", method, "--frames", 3, "--plot", picture)
    code, out, err = call("explain", video, *options, *MODEL, "--json")
    result: dict[str, Any] = json.loads(out)
    assert code == 0
    assert f"wrote {picture}" in err
    assert np.asarray(Image.open(picture).convert("L")).std() > 10
    assert result["method"] == method
    assert result["model"] == "mova-worlds-tiny"
    assert result["sentences"] == sentences
    times = [frame["time"] for frame in result["frames"]]
    assert times == sorted(set(times))
    assert len(times) == 3
    if method == "subsets":
        assert result["rule"] == "softmax of cosines"
        assert len(result["weights"]) == len(result["times"]) == 24
        assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in result["weights"])
        return
    assert result["area"] == [0, 0, 1, 1]
    side = {"gradcam": 16, "occlusion": 16}[method]
    for frame in result["frames"]:
        assert [row["sentence"] for row in frame["sentences"]] == list(range(len(sentences)))
        assert all(np.shape(row["map"]) == (side, side) for row in frame["sentences"])
        assert all(-1 <= row["cosine"] <= 1 for row in frame["sentences"])


@pytest.mark.parametrize("method", ["subsets", "gradcam"])
def test_chosen_sentences_and_the_table(call: Call, film: tuple[Path, list[str]], tmp_path: Path, method: str) -> None:
    text = ("--text", "A red star rises. Two blue rings spin. A green cross falls.")
    options = (*text, "--sentences", "3, 1", "--frames", 2, "--method", method, "--plot", tmp_path / "a.png")
    code, out, _ = call("explain", film[0], *options, *MODEL)
    assert code == 0
    assert "blue" not in out
    assert "0:" in out
    if method == "gradcam":
        assert "A red star rises." in out
        assert "A green cross falls." in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--plot", "{tmp}/a.png"], 2, "exactly one of --text and --text-file"),
        (["--plot", "{tmp}/a.png", "--text", " "], 2, "caption is empty"),
        (["--plot", "{tmp}/a.html", "--text", "A star."], 2, "must end in .png"),
        (["--plot", "{tmp}/a.png", "--text", "A star.", "--sentences", "0"], 2, "from 1 to 1"),
        (["--plot", "{tmp}/a.png", "--text", "A star.", "--sentences", "one"], 2, "from 1 to 1"),
        (["--plot", "{tmp}/a.png", "--text", "A star.", "--method", "magic"], 2, "occlusion"),
        (["--plot", "{tmp}/a.png", "--text", "A star.", "--frames", "0"], 2, "frames"),
        (["--text", "A star."], 2, "--plot"),
        (["--plot", "{tmp}/a.png", "--text", "A star."], 2, "no.mp4"),
    ],
)
def test_invalid_requests_print_one_message(
    call: Call, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    arguments = [word.replace("{tmp}", str(tmp_path)) for word in words]
    got, out, err = call("explain", tmp_path / "no.mp4", *arguments, *MODEL)
    assert (got, out) == (code, "")
    assert message in err.replace("\n", " ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_plot_that_cannot_be_written_does_not_lose_the_result(
    call: Call, film: tuple[Path, list[str]], tmp_path: Path
) -> None:
    plot = tmp_path / "a.png"
    plot.symlink_to("/dev/full")
    code, out, err = call("explain", film[0], "--text", "A star.", "--plot", plot, *MODEL, "--json")
    assert code == 1
    assert json.loads(out)["sentences"] == ["A star."]
    assert "cannot be written" in err
