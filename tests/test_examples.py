"""Every example script and the notebook's code run offline, and give the result that they describe."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from mova.cli.main import app
from mova.data.manifest import read_manifest, write_manifest
from mova.errors import ModelError
from mova.models.registry import load_any
from tests.support.tiny_videollms import make_tokenizer

FOLDER = Path(__file__).resolve().parents[1] / "examples"


def example(name: str) -> Any:
    return runpy.run_path(str(FOLDER / f"{name}.py"))["main"]


def test_every_example_has_a_test() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_file()) == [
        "align_caption.py",
        "evaluate_scores.py",
        "index_and_search.py",
        "kuberay.yaml",
        "mplug_owl.py",
        "tour.ipynb",
        "train_tiny.py",
    ]


@pytest.mark.slow
def test_index_and_search_finds_the_moment(worlds_manifest: Path, tmp_path: Path) -> None:
    row = json.loads(worlds_manifest.read_text(encoding="utf-8").splitlines()[0])
    query = row["captions"][0]["sentences"][0]["text"]
    moments = example("index_and_search")(worlds_manifest.parent, "mova-worlds-tiny", query, tmp_path / "index")
    assert len(moments) == 5
    assert moments == sorted(moments, key=lambda moment: -moment.score)


@pytest.mark.slow
def test_align_caption_writes_a_picture(tmp_path: Path) -> None:
    timeline = example("align_caption")(tmp_path, tmp_path / "timeline.png")
    assert timeline.sentences
    assert all(sentence.spans for sentence in timeline.sentences)
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_scores_counts_ties_by_expected_rank() -> None:
    exact, rounded = example("evaluate_scores")()
    assert exact["ties"] == 0
    assert rounded["ties"] > 0
    assert 0 < rounded["R@1"] < exact["R@1"] < 100


@pytest.mark.slow
def test_train_tiny_writes_a_model_that_loads(tmp_path: Path) -> None:
    assert 0 <= example("train_tiny")(tmp_path) <= 1
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads((FOLDER / "tour.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    namespace: dict[str, Any] = {}
    try:
        for cell in cells:
            exec(compile(cell, "tour.ipynb", "exec"), namespace)
    finally:
        matplotlib.use(backend)
    assert namespace["scores"].shape == (4, 4)
    assert "world-shaded" in capsys.readouterr().out


OWL = """
import torch
import yaml
from typer.testing import CliRunner
from torch import nn

class MplugOwlForConditionalGeneration(nn.Module):
    # called as the authors' class is; its answer depends on the frames and on every token

    def __init__(self, words):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head, self.calls = nn.Embedding(words, 16), nn.Linear(16, words), []

    @classmethod
    def from_pretrained(cls, checkpoint, torch_dtype):
        return cls(400).to(torch_dtype)

    def forward(self, pixel_values, video_pixel_values, labels, num_images, num_videos, input_ids, non_padding_mask,
                non_media_mask, prompt_mask):
        assert labels is None and non_padding_mask.shape == (1, input_ids.shape[1] - 1)
        self.calls.append((input_ids[0].tolist(), num_images.tolist(), num_videos.tolist()))
        seen = video_pixel_values if pixel_values is None else pixel_values
        states = self.table(input_ids.clamp_min(0)).cumsum(dim=1) / 8 + seen.mean()
        return {"logits": self.head(states.sin())}
"""


def test_mplug_owl_as_a_plug_in(
    worlds_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., tuple[int, str, str]]
) -> None:
    with pytest.raises(ModelError, match="package mplug_owl_video cannot be imported"):
        runpy.run_path(str(FOLDER / "mplug_owl.py"))["Owl"]("checkpoint")
    package = tmp_path / "mplug_owl_video"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "modeling_mplug_owl.py").write_text(OWL)
    make_tokenizer().save_pretrained(tmp_path / "checkpoint")
    for folder in (tmp_path, FOLDER):
        monkeypatch.syspath_prepend(folder)
    name = f"mplug_owl:Owl={tmp_path / 'checkpoint'}"
    row = read_manifest(worlds_manifest)[0]
    video, texts = worlds_manifest.parent / row.video, ["a dog runs", "tea"]
    owl = load_any(name, precision="fp32", device="cpu", max_frames=4)
    both = owl.log_odds(video, texts)
    assert both.tolist() == [float(owl.log_odds(owl.prepare(video), [text])[0]) for text in texts]
    assert not torch.allclose(both[0], both[1])
    ids, images, videos = owl.model.calls[0]
    assert (ids.count(-2), images, videos) == (65, [0], [1])
    text = owl.tokenizer.decode([id for id in ids if id >= 0])
    assert text.endswith('Human: \nHuman: Does this video entail the description: "a dog runs"?\nAI: ')
    (tail,) = owl.tails(["a dog runs"])
    assert owl.tokenizer.decode(tail.ids[tail.description]).strip('"') == "a dog runs"
    table = owl.figure_scores([np.zeros((40, 60, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)], texts)
    assert table.shape == (2, 2)
    assert owl.model.calls[-1][1:] == ([1], [0])
    assert owl.fingerprint() != load_any(name, precision="fp32", device="cpu").fingerprint()
    words = ("--model", name, "--device", "cpu", "--precision", "fp32", "--json")
    code, out, err = call("score", video, "a dog runs.", *words)
    assert code == 0, err
    assert 0 < json.loads(out)["score"] < 1
    claims = replace(row, video=str(video), split="test", meta={"negatives": [{"text": "tea"}]})
    write_manifest(tmp_path / "claims.jsonl", [claims])
    code, out, err = call("eval", "entailment", "--manifest", tmp_path / "claims.jsonl", "--model", name, "--json")
    assert code == 0, err
    assert json.loads(out)["settings"]["form"] == "log odds"


def test_the_job_of_kubernetes_calls_a_command_that_exists_with_one_version_of_ray() -> None:
    text = (FOLDER / "kuberay.yaml").read_text(encoding="utf-8")
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    program, command, *words = job["spec"]["entrypoint"].split()
    assert (program, command) == ("mova", "index")
    usage = CliRunner().invoke(app, ["index", "--help"], terminal_width=200).output
    assert all(word in usage for word in words if word.startswith("--"))
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    containers = [group["template"]["spec"]["containers"][0] for group in groups]
    assert {one["image"].rpartition(":")[2] for one in containers} == {cluster["rayVersion"]}
    assert f"rayproject/ray:{cluster['rayVersion']}-" in text
    assert all(one["envFrom"] == containers[0]["envFrom"] and one["env"] == containers[0]["env"] for one in containers)
    assert all(one["resources"]["requests"] == one["resources"]["limits"] for one in containers)
