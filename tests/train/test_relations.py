"""A basis for the concepts of one's own moments: what it recovers, when it is refused, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mova.errors import UsageError
from mova.eval.tasks.relations import Gallery
from mova.models.embeddings import VideoEmbedding
from mova.models.registry import load
from mova.models.relations.fit import FitSettings
from mova.train import relations as module
from mova.train.relations import RelationsReport, train_relations
from mova.video.writer import write_mp4

Call = Callable[..., tuple[int, str, str]]
SETTINGS = FitSettings(steps=60, batch=64)
WIDTH, VALUES = 16, 4


class Words:
    """A text tower with one vector per value; the words are off the axes of the frames by their length."""

    def __init__(self) -> None:
        draws = torch.Generator().manual_seed(5)
        axes = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draws))[0]
        self.axes = axes[:VALUES]
        self.words = self.axes + 1.0 * F.normalize(torch.randn(VALUES, WIDTH, generator=draws), dim=-1)

    def encode_text(self, texts: list[str]) -> Any:
        class Pooled:
            pooled = torch.stack([self.words[int(text[-1])] for text in texts])

        return Pooled()

    def fingerprint(self) -> str:
        return "words"


def gallery(model: Words, files: int = 60, meaning: bool = True) -> Gallery:
    """Two moments per file: the concept's value along its axis, and much larger noise that is the file's own."""
    draws = torch.Generator().manual_seed(1)
    labels = torch.randint(VALUES, (2 * files,), generator=draws)
    noise = torch.randn(files, WIDTH, generator=draws).repeat_interleave(2, dim=0)
    noise = noise - noise @ model.axes.T @ model.axes
    frames = F.normalize(noise + 1.5 * model.axes[labels], dim=-1)
    shown = labels if meaning else labels[torch.randperm(len(labels), generator=draws)]
    values = {"place": [(f"value {i}",) for i in range(VALUES)]}
    sources = [f"{i // 2}.mp4" for i in range(2 * files)]
    return Gallery(frames, {"place": shown.numpy()}, values, sources)


def test_a_basis_is_found_where_words_are_off() -> None:
    model: Any = Words()
    relations, report = train_relations(model, gallery(model), settings=SETTINGS)
    assert report.helps
    assert (report.moments, report.files, report.concepts) == (120, 60, ("place",))
    assert report.auc_basis > report.auc_words + 2
    assert (relations.trained, relations.fingerprint) == (("place",), "words")
    respect = relations.mask(model.words)
    both = F.normalize(torch.stack([model.axes[0] + 0.1, model.axes[0] - 0.1, model.axes[1] + 0.1]), dim=-1)
    near, far = respect.similarity(both[:1], both[1:])[0].tolist()
    assert near > far + 0.5


def test_labels_without_meaning_are_refused() -> None:
    model: Any = Words()
    _, report = train_relations(model, gallery(model, meaning=False), settings=SETTINGS)
    assert not report.helps
    assert abs(report.auc_basis - 50) < 10


def test_moments_of_a_file_are_held_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = Words()
    data = gallery(model, files=20)
    seen = []

    def fit(frames: torch.Tensor, *_: Any) -> Any:
        seen.append(len(frames))
        return real(frames, *_)

    real = module.fit
    monkeypatch.setattr(module, "fit", fit)
    train_relations(model, data, settings=FitSettings(steps=1, batch=8))
    assert seen == [32] * 5 + [40]  # 16 of 20 files with two moments each, then all


def test_few_files_are_refused() -> None:
    model: Any = Words()
    with pytest.raises(UsageError, match="moments of 9 files"):
        train_relations(model, gallery(model, files=9), settings=SETTINGS)


def test_two_videos_are_compared_in_one_respect() -> None:
    model = load("mova-worlds-tiny", device="cpu")
    draws = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(3, 4, model.embedding_dim, generator=draws), dim=-1)
    videos = [VideoEmbedding(row, np.arange(4.0), 4.0) for row in rows]
    pooled = torch.stack([video.pooled for video in videos])
    respect = model.respect("color")
    torch.testing.assert_close(
        model.similarity(videos[:2], videos, by="colour"), respect.similarity(pooled[:2], pooled)
    )
    texts = model.encode_text(["a red star", "a blue star"])
    torch.testing.assert_close(model.similarity(videos, texts, by="color"), respect.similarity(pooled, texts.pooled))
    with pytest.raises(UsageError, match="hat"):
        model.similarity(videos, videos, by="hat")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve short noisy clips."""
    folder = tmp_path_factory.mktemp("moments")
    rng = np.random.default_rng(0)
    lines = ["file,start,end,color"]
    for i in range(12):
        write_mp4(folder / f"{i}.mp4", [rng.integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)], fps=4.0)
        lines.append(f"{i}.mp4,0,1,{('red', 'blue')[i % 2]}")
    path = folder / "moments.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_command(call: Call, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FitSettings", lambda: FitSettings(steps=2))
    words = ("fit", str(table), str(tmp_path / "fitted"), "--relations", "--model", "mova-worlds-tiny")
    code, out, err = call(*words)
    assert code == 1, err
    assert "not saved: the basis does not help" in out
    assert not (tmp_path / "fitted").exists()
    monkeypatch.setattr(RelationsReport, "helps", True)
    code, out, err = call(*words, "--json")
    assert code == 0, err
    assert json.loads(out)["concepts"] == ["color"]
    model = load(tmp_path / "fitted", device="cpu")
    assert (model.respects(), model.trained_respects()) == (["color"], ["color"])
    code, _, err = call(*words[:2], str(tmp_path / "other"), *words[3:], "--fps", "2")
    assert code == 2
    assert "--relations reads a table of moments" in err
