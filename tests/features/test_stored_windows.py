"""Vectors of windows in a feature store: as from the files, with their times; in evaluation and training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mova
from mova.data.feature_store import Clip, FeatureStore
from mova.data.manifest import read_manifest
from mova.errors import IndexMismatchError, UsageError
from mova.features.extract import write_features
from mova.features.stored import StoredEmbeddings, feature_key
from mova.models.embeddings import VideoEmbedding
from mova.models.gexia.model import Gexia
from mova.models.mova.build import MovaBuild
from mova.models.mova.model import Mova
from mova.models.qwen_embedding.model import QwenEmbedding
from mova.models.x_clip.model import XClip
from mova.scoring.windows.rule import WindowRule
from mova.train.recipe import Recipe
from mova.train.run import train
from mova.video.reader import FrameRule
from tests.support.fakes import ColourEncoder
from tests.support.small_recipes import TRAINING
from tests.support.tiny_models import build_video_prism
from tests.support.tiny_sentence_models import build_language_model
from tests.support.tiny_videollms import build

RATE = 2.0
TEXTS = ["A dog runs.", "Two white squares move left, and a star appears."]


@pytest.fixture(scope="module")
def model(tiny_x_clip: Path) -> XClip:
    return XClip.from_checkpoint(tiny_x_clip, precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def store(model: XClip, worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("windows") / "store"
    report = write_features(folder, model, worlds_manifest, FrameRule(fps=RATE), dtype="float32")
    assert (report.written, report.failed) == (10, {})
    assert report.frames == 90  # of each video of 20 frames, windows of 4 every 2
    return folder


def test_stored_windows_are_those_of_the_model(store: Path, model: XClip, worlds_manifest: Path) -> None:
    read = StoredEmbeddings(store, model, RATE)
    for row in read_manifest(worlds_manifest)[:2]:
        expected, stored = model.encode_video(worlds_manifest.parent / row.video, RATE), read(row)
        torch.testing.assert_close(stored.frames, expected.frames)
        assert stored.windows is not None
        assert expected.windows is not None
        np.testing.assert_array_equal(stored.windows, expected.windows)
        np.testing.assert_array_equal(stored.times, expected.times)
        assert (stored.step, stored.duration) == (expected.step, expected.duration)


def test_a_part_of_a_stored_clip_has_the_windows_that_stand_for_it(
    store: Path, model: XClip, worlds_manifest: Path
) -> None:
    row = read_manifest(worlds_manifest)[0]
    read = StoredEmbeddings(store, model, RATE)
    whole, part = read(row), read.span(row, 3.0, 6.0)
    inside = (whole.times >= 3.0) & (whole.times < 6.0)
    assert whole.windows is not None
    assert part.windows is not None
    np.testing.assert_array_equal(part.windows, whole.windows[inside])
    assert torch.equal(part.frames, whole.frames[inside])


def test_other_windows_are_refused_by_name(store: Path, tiny_x_clip: Path, model: XClip) -> None:
    described = json.loads((store / "store.json").read_text())
    assert (described["layout"], described["window"], described["stride"]) == (2, 4, 2)
    other = XClip.from_checkpoint(tiny_x_clip, precision="fp32", device="cpu")
    other.window = WindowRule(4, 1)
    with pytest.raises(IndexMismatchError, match="in windows of 4 every 2, not 2 frames per second in windows of 4 ev"):
        StoredEmbeddings(store, other, RATE)
    with pytest.raises(UsageError, match="consecutive frames, which need a rate"):
        feature_key(model, FrameRule(4, "segment_midpoint"))


def test_a_store_of_single_frames_is_described_as_it_always_was() -> None:
    key = feature_key(ColourEncoder(), FrameRule(fps=1.0))
    assert key.layout == 1
    assert not {"window", "stride"} & key.to_json().keys()


def test_texts_are_trained_on_stored_windows(
    store: Path, tiny_x_clip: Path, worlds_manifest: Path, tmp_path: Path
) -> None:
    data = {"kind": "manifest", "manifest": str(worlds_manifest), "fps": RATE, "frames": 9, "validation": "val"}
    recipe = Recipe(
        "small",
        model={"kind": "x-clip", "source": str(tiny_x_clip)},
        data=data | {"features": str(store)},
        objective={"kind": "late_interaction"},
        training=TRAINING,
    )
    start = XClip.from_checkpoint(tiny_x_clip, precision="fp32", device="cpu")
    trained: Any = train(recipe, tmp_path / "run")
    assert isinstance(trained, XClip)
    assert trained.video_fingerprint() == start.video_fingerprint()
    assert trained.fingerprint() != start.fingerprint()
    row = read_manifest(worlds_manifest)[0]
    assert StoredEmbeddings(store, trained)(row).windows is not None
    with pytest.raises(UsageError, match="store its vectors with `mova data features`"):
        train(replace(recipe, data=data), tmp_path / "pixels")


def test_heads_are_trained_on_stored_windows_and_align_a_video(
    store: Path, tiny_x_clip: Path, worlds_manifest: Path, tmp_path: Path
) -> None:
    data = {"kind": "manifest", "manifest": str(worlds_manifest), "fps": RATE, "frames": 9, "features": str(store)}
    recipe = Recipe(
        "small",
        model={"kind": "mova", "source": str(tiny_x_clip), "preset": "repaired"},
        data=data | {"validation": "val"},
        objective={"kind": "mova"},
        training=TRAINING,
    )
    start = XClip.from_checkpoint(tiny_x_clip, precision="fp32", device="cpu")
    train(recipe, tmp_path / "run")
    model = mova.load(str(tmp_path / "run"), precision="fp32", device="cpu")
    assert isinstance(model, Mova)
    assert model.window == start.window
    assert model.video_fingerprint() == start.video_fingerprint()
    assert model.fingerprint() != start.fingerprint(), "its texts were trained"
    row = read_manifest(worlds_manifest)[-1]
    film = worlds_manifest.parent / row.video
    video, expected = model.encode_video(film, RATE), start.encode_video(film, RATE)
    torch.testing.assert_close(video.frames, expected.frames)
    np.testing.assert_array_equal(video.windows, expected.windows)
    torch.testing.assert_close(StoredEmbeddings(store, model, RATE)(row).frames, expected.frames)
    caption = row.captions[0].text
    timeline, plain = model.align(film, caption, fps=RATE), model.backbone.align(film, caption, fps=RATE)
    assert timeline.to_json()["sentences"] == plain.to_json()["sentences"], "masks act on pairs, not on frames"
    index = mova.Index(tmp_path / "index", model)
    assert len(index.add(film, fps=RATE).indexed) == 1
    (stored,) = index._store.fetch([index.videos()[0].content]).values()
    np.testing.assert_array_equal(stored.windows, expected.windows)
    sentence = caption.split(".")[0]
    (first,) = index.search(sentence, k=1, rescore="masks")
    until = np.minimum(np.append(video.times[1:], np.inf), stored.windows[:, 1])
    shown = (video.times < first.end) & (until > first.start)
    assert shown.any()
    seen = VideoEmbedding(torch.from_numpy(stored.vectors[shown]).float(), video.times[shown], first.end)
    assert first.score == pytest.approx(model.modular_similarity([seen], [sentence]).item(), abs=1e-4)
    assert index.search(sentence, k=1, rescore="rule"), "also where the bounds are finer than windows"
    with pytest.raises(UsageError, match="encodes windows of 4 frames; GEXIA goes around encoders of single frames"):
        Gexia.from_backbone(start)


def test_texts_and_heads_of_video_prism_are_trained_too(worlds_manifest: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers.models.videoprism")
    checkpoint = build_video_prism(tmp_path / "tiny")
    start = mova.load(str(checkpoint), precision="fp32", device="cpu")
    rule = FrameRule(fps=RATE)
    write_features(tmp_path / "store", start, worlds_manifest, rule, splits=["train"], dtype="float32")
    data = {"kind": "manifest", "manifest": str(worlds_manifest), "fps": RATE, "frames": 9, "split": "train"}
    for kind, objective in (("video-prism", "late_interaction"), ("mova", "mova")):  # masks of units, the default
        recipe = Recipe(
            "small",
            model={"kind": kind, "source": str(checkpoint)},
            data=data | {"features": str(tmp_path / "store")},
            objective={"kind": objective},
            training=TRAINING | {"max_steps": 1},
        )
        train(recipe, tmp_path / kind)
        model: Any = mova.load(str(tmp_path / kind), precision="fp32", device="cpu")
        assert model.window == start.window
        assert model.video_fingerprint() == start.video_fingerprint()
        before, after = (one.encode_text("A dog runs.").pooled for one in (start, model))
        assert not torch.equal(before, after)
        inner = model.backbone if kind == "mova" else model
        assert inner.trained_scale() is None, "its factor in training is not of its checkpoint"


@pytest.fixture(scope="module")
def tiny_qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build("qwen3_vl", tmp_path_factory.mktemp("qwen") / "tiny-embedding")
    (folder / "modules.json").write_text("[]", encoding="utf-8")
    return folder


@pytest.mark.parametrize("family", ["qwen", "sentence"])
def test_heads_are_trained_around_models_whose_weights_stay(
    family: str, tiny_qwen: Path, worlds_manifest: Path, tmp_path: Path
) -> None:
    """With dimensions masked by token states of prompts, and units of captions masked by vectors of windows."""
    if family == "sentence":
        pytest.importorskip("sentence_transformers")
        checkpoint = build_language_model("qwen2_5_vl", tmp_path / "tiny")
        chosen: dict[str, Any] = {"preset": "subsets", "hard": False}
    else:
        checkpoint, chosen = tiny_qwen, {"preset": "repaired"}
    start: Any = mova.load(str(checkpoint), precision="fp32", device="cpu")
    store, rule = tmp_path / "store", FrameRule(fps=1.0)
    write_features(store, start, worlds_manifest, rule, splits=["train"], dtype="float32")
    data = {"kind": "manifest", "manifest": str(worlds_manifest), "fps": 1.0, "frames": 4, "split": "train"}
    recipe = Recipe(
        "small",
        model={"kind": "mova", "source": str(checkpoint), **chosen},
        data=data | {"features": str(store)},
        objective={"kind": "mova"},
        training=TRAINING,
    )
    trained: Any = train(recipe, tmp_path / "run")
    model: Any = mova.load(str(tmp_path / "run"), precision="fp32", device="cpu")
    assert isinstance(model, Mova)
    untrained = MovaBuild(str(checkpoint), **chosen).build()
    around = {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}
    first, last, read = (dict(one.named_parameters()) for one in (untrained, trained, model))
    assert around
    assert any(not torch.equal(first[name], last[name]) for name in around)
    assert all(torch.equal(read[name], last[name]) for name in around)
    model.save_pretrained(tmp_path / "run")  # where it was loaded from
    assert model.window == start.window
    assert model.fingerprint() == start.fingerprint(), "no weight of the encoder was trained: one index serves both"
    row = read_manifest(worlds_manifest)[0]
    film, caption = worlds_manifest.parent / row.video, row.captions[0].text
    video, texts = model.encode_video(film), model.encode_text(TEXTS)
    torch.testing.assert_close(video.frames, start.encode_video(film).frames)
    torch.testing.assert_close(texts.pooled, start.encode_text(TEXTS).pooled)
    torch.testing.assert_close(StoredEmbeddings(store, model, 1.0)(row).frames, video.frames)
    scores = model.modular_similarity([video], TEXTS)
    assert scores.shape == (1, len(TEXTS))
    assert not torch.equal(scores, untrained.modular_similarity([video], TEXTS))
    assert model.align(film, caption).to_json() == start.align(film, caption).to_json(), "masks act on pairs"
    index = mova.Index(tmp_path / "index", start)
    assert len(index.add(film).indexed) == 1
    (first_moment,) = mova.Index(tmp_path / "index", model).search(TEXTS[0], k=1, rescore="masks")
    assert first_moment.video == str(film)
    with pytest.raises(UsageError, match="mova does not train its weights"):
        train(replace(recipe, data=data), tmp_path / "pixels")
    kind = "qwen-vl-embedding" if family == "qwen" else "sentence-transformers"
    alone = replace(recipe, model={"kind": kind, "source": str(checkpoint)}, objective={"kind": "late_interaction"})
    with pytest.raises(UsageError, match="has no weights to train; all are frozen"):
        train(alone, tmp_path / "alone")


def test_the_commands_read_the_store_as_they_read_the_files(
    tiny_qwen: Path, worlds_manifest: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    model, folder = tiny_qwen, tmp_path / "store"
    options = ("--model", model, "--fps", 1)
    code, out, err = call("data", "features", worlds_manifest, folder, *options, "--split", "test", "--json")
    assert code == 0, err
    assert json.loads(out)["written"] == 2
    words = ("eval", "retrieval", "--protocol", "captions", "--manifest", worlds_manifest, "--split", "test", *options)
    reports = []
    for more in ((), ("--features", folder)):
        code, out, err = call(*words, *more, "--json")
        assert code == 0, err
        reports.append(json.loads(out))
    assert reports[0]["t2v"] == reports[1]["t2v"]
    encoder = QwenEmbedding.from_checkpoint(model, precision="fp32", device="cpu")
    row = next(row for row in read_manifest(worlds_manifest) if row.split == "test")
    clip = Clip(row.video, 0.0, None)
    expected = encoder.encode_video(worlds_manifest.parent / row.video, 1.0).windows
    np.testing.assert_array_equal(FeatureStore(folder).windows(clip), expected)
