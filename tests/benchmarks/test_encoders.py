"""The comparison of encoders: what its figures are, against loops over pairs; and the command's options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.common.random_encoders import random_encoders
from benchmarks.studies import encoders
from mova.eval.tasks.split import open_split
from mova.models.embeddings import VideoEmbedding
from mova.models.families import foreign_family
from mova.models.registry import load


@pytest.fixture(scope="module")
def compared(worlds_manifest: Path) -> tuple[object, Path]:
    return load("mova-worlds-tiny", device="cpu"), worlds_manifest


def test_every_clip_is_encoded_once(compared: tuple[object, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, manifest = compared
    clips = encoders.Clips(model, manifest)  # type: ignore[arg-type]
    rows = open_split(model, manifest, "train", encode=clips).rows  # type: ignore[arg-type]
    first = [clips(row) for row in rows]
    monkeypatch.setattr(clips, "_encode", lambda row: pytest.fail("encoded again"))
    assert [clips(row) for row in rows] == first


def test_no_match_is_the_share_of_pairs_in_the_right_order(
    compared: tuple[object, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, manifest = compared
    clips = encoders.Clips(model, manifest)  # type: ignore[arg-type]
    split = open_split(model, manifest, "train", encode=clips)  # type: ignore[arg-type]
    monkeypatch.setattr(encoders, "HALVES", 1)
    found = encoders.no_match(model, split, clips, seed=3)  # type: ignore[arg-type]
    kept = set(np.random.default_rng(3).permutation(6)[:3].tolist())
    videos: list[VideoEmbedding] = [clips(row) for row in split.rows]
    scores: dict[bool, list[float]] = {True: [], False: []}
    with torch.no_grad():
        for i, row in enumerate(split.rows):
            for sentence in row.captions[0].sentences:
                vector = model.encode_text([sentence.text]).pooled  # type: ignore[attr-defined]
                best = max(float(model.relevance(vector, videos[k]).max()) for k in kept)  # type: ignore[attr-defined]
                scores[i in kept].append(best)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[True] for b in scores[False]]
    assert found is not None
    assert found[0] == pytest.approx(100 * np.mean(pairs), abs=1e-6)


def test_too_few_videos_have_no_figure(compared: tuple[object, Path]) -> None:
    model, manifest = compared
    clips = encoders.Clips(model, manifest)  # type: ignore[arg-type]
    assert encoders.no_match(model, open_split(model, manifest, "val", encode=clips), clips, 0) is None  # type: ignore[arg-type]


def test_models_and_data_are_for_this_benchmark_alone(call: Callable[..., tuple[int, str, str]]) -> None:
    code, _, error = call("bench", "windows", "--models", "a,b")
    assert code == 2
    assert "--models is for `mova bench encoders`" in error


def test_a_manifest_that_does_not_exist_is_named() -> None:
    with pytest.raises(encoders.UsageError, match=r"--data nothing\.jsonl: no such file"):
        encoders.manifests("nothing.jsonl", True, 0, Path())


def test_there_is_a_random_encoder_of_each_family_and_its_weights_are_those_of_the_seed(tmp_path: Path) -> None:
    writers = random_encoders()
    made = {name: write(tmp_path / name, ["a dog runs"], 0) for name, write in writers.items()}
    families = {name: foreign_family(folder).name for name, folder in made.items()}
    expected = {
        *("two-tower", "x-clip", "qwen-vl-embedding"),
        *(["video-prism"] if "random-video-prism" in writers else []),
        *(["sentence-transformers"] if "random-sentence-clip" in writers else []),
    }
    assert set(families.values()) == expected
    one, same, other = (
        load_file(writers["random-naflex"](tmp_path / f"{name}", [], seed) / "model.safetensors")
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
