"""The feature store: vectors as from pixels, nothing lost by a kill, and every mismatch is said."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from mova.data.batch import Collator, StoredVectorInputs
from mova.data.dataset import PairDataset
from mova.data.feature_store import Clip, ClipRecord, FeatureKey, FeatureStore
from mova.data.feature_store_writer import FeatureWriter
from mova.data.manifest import Caption, Row, TimedSentence, read_manifest, write_manifest
from mova.errors import DataError, IndexMismatchError, MovaError, UsageError, VideoError
from mova.features.extract import write_features
from mova.features.stored import StoredEmbeddings, feature_key
from mova.models.families import input_adapter
from mova.models.mova.model import Mova
from mova.models.two_tower.model import TwoTower
from mova.models.worlds_tiny.model import WorldsTiny, WorldsTinyConfig
from mova.train.objectives.base import ModelEncoder
from mova.train.recipe import Recipe, find_objective
from mova.train.run import train
from mova.train.sources.pairs import stored_only
from mova.types import Frames
from mova.video.reader import FrameRule
from mova.video.writer import write_mp4
from mova.worlds.batches import vocabulary
from tests.support.fakes import ColourEncoder
from tests.support.small_recipes import TRAINING

ONE_FPS = FrameRule(fps=1.0)
TOLERANCE = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}
KEY = FeatureKey("m", "w", "p", 4, fps=1.0, dtype="float32")


@pytest.fixture(scope="module")
def clip(tiny_clip: Path) -> TwoTower:
    return TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def stores(clip: TwoTower, worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The ten Worlds at one frame per second, in every precision."""
    folder = tmp_path_factory.mktemp("stores")
    for dtype in TOLERANCE:
        report = write_features(folder / dtype, clip, worlds_manifest, ONE_FPS, dtype=dtype)
        assert (report.written, report.unchanged, report.frames, report.failed) == (10, 0, 100, {})
    return {dtype: folder / dtype for dtype in TOLERANCE}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A manifest of three films of 6 s, the second one broken, with two clips and timed sentences of the third."""
    rng = np.random.default_rng(0)
    for name in ("a", "c"):
        write_mp4(tmp_path / f"{name}.mp4", [rng.integers(0, 255, (24, 32, 32, 3), dtype=np.uint8)], fps=4.0)
    (tmp_path / "b.mp4").write_bytes(b"not a video")
    caption = Caption("It is. It was.", (TimedSentence("It is.", 0.5, 2.2), TimedSentence("It was.", 2.1, 2.3)))
    rows = [Row(name, f"{name}.mp4", None, "train", (caption,)) for name in ("a", "b")]
    rows += [
        Row("c1", "c.mp4", None, "train", (caption,), 1.0, 3.0),
        Row("c2", "c.mp4", None, "test", (caption,), 2.25, 50.0),
    ]
    return write_manifest(tmp_path / "manifest.jsonl", rows)


def files_of(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_stored_vectors_are_those_of_the_model(
    dtype: str, stores: dict[str, Path], clip: TwoTower, worlds_manifest: Path
) -> None:
    embeddings = StoredEmbeddings(stores[dtype], clip, fps=1.0)
    for row in read_manifest(worlds_manifest)[:3]:
        expected, stored = clip.encode_video(worlds_manifest.parent / row.video, 1.0), embeddings(row)
        assert stored.frames.dtype == torch.float32
        scale = float(expected.frames.abs().max())
        assert torch.allclose(stored.frames, expected.frames, rtol=0, atol=TOLERANCE[dtype] * scale)
        assert np.array_equal(stored.times, expected.times)
        assert stored.duration == expected.duration
        assert stored.step == expected.step == 1.0


@pytest.mark.parametrize("frames", [4, 64])
def test_a_data_set_reads_the_same_frames_from_store_and_pixels(
    frames: int, stores: dict[str, Path], clip: TwoTower, worlds_manifest: Path
) -> None:
    store = pickle.loads(pickle.dumps(FeatureStore(stores["float32"])))
    rule = FrameRule(frames=frames, fps=1.0)
    for captions in ("paragraph", "clip"):
        pixels = PairDataset(worlds_manifest, split="train", sampling=rule, captions=captions)
        stored = PairDataset(worlds_manifest, split="train", sampling=rule, captions=captions, features=store)
        assert len(pixels) == len(stored)
        for pixel_clip, stored_clip in zip((pixels[i] for i in (0, 2)), (stored[i] for i in (0, 2)), strict=True):
            assert (pixel_clip.text, pixel_clip.units, pixel_clip.group) == (
                stored_clip.text,
                stored_clip.units,
                stored_clip.group,
            )
            if captions == "paragraph":
                assert np.array_equal(pixel_clip.frames.pts, stored_clip.frames.pts)
                assert torch.allclose(
                    clip.encode_frames(pixel_clip.frames), torch.from_numpy(stored_clip.frames.vectors), atol=1e-5
                )


def losses(model: Any, adapter: Any, data: PairDataset, kind: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and the gradients of one batch."""
    objective = find_objective(kind)()
    batch = Collator(adapter, objective.units)([data[i] for i in range(4)])
    assert batch.broken == ()
    model.zero_grad()
    torch.manual_seed(0)
    loss, _ = objective.forward(batch, ModelEncoder(model, model, adapter.encode))
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["clip4clip", "late_interaction", "mova"])
def test_the_loss_from_the_store_is_the_loss_from_pixels(
    kind: str, stores: dict[str, Path], tiny_clip: Path, worlds_manifest: Path
) -> None:
    torch.manual_seed(1)
    model: Any = TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu")
    if kind == "mova":
        model = Mova.from_backbone(model, "subsets")
    model.train()
    for weight in model.video_parameters():
        weight.requires_grad_(False)
    rule, adapter = FrameRule(frames=4, fps=1.0), input_adapter(model)
    data = PairDataset(worlds_manifest, split="train", sampling=rule, prepare=adapter.resize)
    expected, gradients = losses(model, adapter, data, kind)
    assert gradients
    assert not any("vision" in name or "visual" in name for name in gradients)
    for dtype, folder in stores.items():
        data = PairDataset(worlds_manifest, split="train", sampling=rule, features=FeatureStore(folder))
        stored_loss, stored_gradients = losses(model, input_adapter(model, stored=True), data, kind)
        assert float(stored_loss) == pytest.approx(float(expected), abs=10 * TOLERANCE[dtype])
        assert stored_gradients.keys() == gradients.keys()
        if dtype == "float32":
            assert all(torch.allclose(stored_gradients[name], gradients[name], atol=1e-4) for name in stored_gradients)


def test_a_recipe_trains_from_the_store(
    stores: dict[str, Path], tiny_clip: Path, worlds_manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = {"kind": "manifest", "manifest": str(worlds_manifest), "fps": 1.0, "frames": 4, "validation": "val"}
    recipe = Recipe(
        "small",
        model={"kind": "two-tower", "source": str(tiny_clip)},
        data=data,
        objective={"kind": "late_interaction"},
        training=TRAINING,
    )
    start = TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu")
    train(replace(recipe, training=TRAINING | {"max_steps": 1}), tmp_path / "pixels")
    stored = replace(recipe, data=data | {"features": str(stores["float32"])})
    with caplog.at_level(logging.INFO, logger="mova"):
        model: Any = train(stored, tmp_path / "stored")
    assert "the video tower is frozen" in caplog.text
    logs = [json.loads((tmp_path / name / "log.jsonl").read_text().split("\n")[0]) for name in ("pixels", "stored")]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], abs=1e-5)
    for (name, before), after in zip(start.backbone.named_parameters(), model.backbone.parameters(), strict=True):
        assert torch.equal(before, after) == (not name.startswith(("text_", "logit_"))), name
    assert model.fingerprint() != start.fingerprint()
    row = read_manifest(worlds_manifest)[0]
    assert torch.equal(StoredEmbeddings(stores["float32"], model)(row).frames, model_frames(stores["float32"], row))
    with pytest.raises(IndexMismatchError, match="The sampling is 1 frames per second, not 2 frames per second"):
        train(replace(stored, data=stored.data | {"fps": 2.0}), tmp_path / "rate")
    with pytest.raises(IndexMismatchError, match="not 4 frames by head"):
        train(replace(stored, data=stored.data | {"fps": None, "rule": "head"}), tmp_path / "rule")
    with pytest.raises(DataError, match="is not a feature store"):
        train(replace(stored, data=data | {"features": str(tmp_path)}), tmp_path / "none")


def model_frames(store: Path, row: Row) -> torch.Tensor:
    return torch.from_numpy(FeatureStore(store).read(Clip(row.video, 0.0, None)).vectors)


def test_a_mismatch_says_what_differs(stores: dict[str, Path], tiny_clip: Path) -> None:
    store = FeatureStore(stores["float32"])
    model = TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu")
    masked = Mova.from_backbone(model, "subsets")
    store.require(feature_key(masked, ONE_FPS))
    store.require(feature_key(TwoTower.from_checkpoint(tiny_clip, precision="bf16", device="cpu"), ONE_FPS))
    with torch.no_grad():
        model.backbone.text_projection.weight.mul_(2)
    store.require(feature_key(masked, ONE_FPS))
    fp32 = TwoTower.from_checkpoint(tiny_clip, precision="fp32", device="cpu")
    fp32.image_rule = replace(fp32.image_rule, resample="bilinear")
    with pytest.raises(IndexMismatchError) as error:
        store.require(feature_key(fp32, ONE_FPS))
    assert "The preprocessing is" in str(error.value)
    assert "video tower" not in str(error.value)
    with torch.no_grad():
        model.backbone.visual_projection.weight.mul_(2)
    with pytest.raises(IndexMismatchError, match=r"The video tower is that of .* or write another store") as error:
        store.require(feature_key(masked, FrameRule(fps=2.0)))
    assert "The sampling is 1 frames per second, not 2 frames per second" in str(error.value)
    before = files_of(store.folder)
    with pytest.raises(IndexMismatchError):
        FeatureWriter(store.folder, feature_key(model, ONE_FPS))
    assert files_of(store.folder) == before


def test_a_model_without_separate_towers_uses_its_full_fingerprint() -> None:
    first, second = ColourEncoder(variant="a"), ColourEncoder(variant="b")
    assert first.video_fingerprint() != second.video_fingerprint()
    with pytest.raises(UsageError, match="can only be trained on pixels"):
        first.video_parameters()


def test_the_small_model_of_worlds_trains_from_a_store_of_all_its_frames(worlds_manifest: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"image_size": 32, "stem": [8, 8], "hidden_size": 16, "heads": 2}
    model = WorldsTiny(WorldsTinyConfig(vocabulary=vocabulary(), **sizes)).eval()
    rule = FrameRule(fps=2.0)
    write_features(tmp_path / "store", model, worlds_manifest, rule, splits=["train"], dtype="float32")
    store = FeatureStore(tmp_path / "store")
    adapter = input_adapter(model)
    pixels = PairDataset(worlds_manifest, split="train", sampling=rule, prepare=adapter.resize)
    expected, _ = losses(model, adapter, pixels, "late_interaction")
    data = PairDataset(worlds_manifest, split="train", sampling=rule, features=store)
    stored_loss, _ = losses(model, input_adapter(model, stored=True), data, "late_interaction")
    assert float(stored_loss) == pytest.approx(float(expected), abs=1e-5)
    with pytest.raises(UsageError, match=r"--data\.frames 20"):
        stored_only(model, str(tmp_path / "store"), FrameRule(frames=19, fps=2.0))
    assert stored_only(model, str(tmp_path / "store"), FrameRule(frames=20, fps=2.0)).key == store.key
    assert not any(weight.requires_grad for weight in model.frame_tower.parameters())


def test_a_stored_adapter_reads_no_pixels(clip: TwoTower, tiny_naflex: Path) -> None:
    with pytest.raises(UsageError):
        input_adapter(clip, stored=True).resize(np.zeros((1, 8, 8, 3), np.uint8))
    varied = TwoTower.from_checkpoint(tiny_naflex, precision="fp32", device="cpu")
    assert isinstance(input_adapter(varied, stored=True), StoredVectorInputs)


class Dies(ColourEncoder):
    """An encoder that kills its process after some frames."""

    def encode_frames(self, frames: Frames) -> torch.Tensor:
        if self.frames_seen >= 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_frames(frames)


def test_a_killed_run_resumes_without_loss_or_duplicates(
    worlds_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    write_features(whole, ColourEncoder(), worlds_manifest, ONE_FPS)
    monkeypatch.setattr("mova.data.feature_store_writer.SHARD_SECONDS", 0.0)
    child = multiprocessing.get_context("fork").Process(
        target=write_features, args=(cut, Dies(), worlds_manifest, ONE_FPS)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    (cut / "00099.safetensors.partial").write_bytes(b"half")
    done = len(FeatureStore(cut))
    assert 0 < done < 10
    again = ColourEncoder()
    report = write_features(cut, again, worlds_manifest, ONE_FPS)
    assert (report.written, report.unchanged) == (10 - done, done)
    assert again.frames_seen == 10 * report.written
    first, second = FeatureStore(whole), FeatureStore(cut)
    assert first.records.keys() == second.records.keys()
    for clip in first.records:
        assert np.array_equal(first.read(clip).vectors, second.read(clip).vectors)
        assert np.array_equal(first.read(clip).pts, second.read(clip).pts)
    assert sum(len(load_file(shard)["times"]) for shard in cut.glob("*.safetensors")) == 100
    assert not list(cut.glob("*.partial"))
    before = files_of(cut)
    assert write_features(cut, ColourEncoder(), worlds_manifest, ONE_FPS).unchanged == 10
    assert files_of(cut) == before


def test_broken_videos_are_remembered_with_their_cause(films: Path, tmp_path: Path) -> None:
    def run(**options: Any) -> Any:
        return write_features(tmp_path / "store", ColourEncoder(), films, FrameRule(fps=2.0), **options)

    report = run()
    assert (report.written, list(report.failed), report.remembered) == (3, ["b.mp4"], 0)
    store = FeatureStore(tmp_path / "store")
    assert len(store) == 3
    with pytest.raises(VideoError) as error:
        store.read(Clip("b.mp4", 1.0, 2.0))
    assert error.value.cause == report.failed["b.mp4"]
    data = PairDataset(films, split="train", sampling=FrameRule(fps=2.0), features=store)
    assert (data[1].path, data[1].cause) == ("b.mp4", error.value.cause)
    again = run()
    assert (again.written, again.unchanged, again.remembered, list(again.failed)) == (0, 3, 1, ["b.mp4"])
    assert run(retry=True).remembered == 0
    shutil.copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    repaired = run()
    assert (repaired.written, repaired.failed) == (1, {})
    assert len(FeatureStore(tmp_path / "store")) == 4


def test_a_changed_file_is_read_again_and_a_touched_one_is_not(films: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    write_features(store, ColourEncoder(), films, ONE_FPS)
    os.utime(tmp_path / "a.mp4", (1, 1))
    (tmp_path / "c.mp4").rename(tmp_path / "away.mp4")
    same = write_features(store, ColourEncoder(), films, ONE_FPS)
    assert (same.written, same.unchanged) == (0, 3)
    write_mp4(tmp_path / "a.mp4", [np.full((8, 32, 32, 3), 200, np.uint8)], fps=4.0)
    with pytest.raises(DataError, match=r"a\.mp4: is not the file whose features"):
        PairDataset(films, split="train", sampling=ONE_FPS, features=FeatureStore(store))
    changed = write_features(store, ColourEncoder(), films, ONE_FPS)
    assert (changed.written, changed.replaced, changed.unchanged) == (1, 1, 2)
    assert len(FeatureStore(store).read(Clip("a.mp4", 0.0, None))) == 2
    PairDataset(films, split="train", sampling=ONE_FPS, features=FeatureStore(store))


def test_clips_are_cut_from_longer_stored_clips_or_read_exactly(
    films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rule = FrameRule(fps=2.0)
    write_features(tmp_path / "rows", ColourEncoder(), films, rule)
    write_features(tmp_path / "all", ColourEncoder(), films, rule, sentences=True)
    rows, full = FeatureStore(tmp_path / "rows"), FeatureStore(tmp_path / "all")
    assert rows.read(Clip("c.mp4", 1.0, 3.0)).pts.tolist() == [1.0, 1.5, 2.0, 2.5]
    last = rows.read(Clip("c.mp4", 2.25, 50.0))
    assert last.pts[0] == 2.25
    assert last.end == 6.0
    assert rows.read(Clip("a.mp4", 0.5, 2.2)).pts.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert rows.read(Clip("a.mp4", 2.1, 2.3)).pts.tolist() == [2.0]
    assert full.read(Clip("a.mp4", 2.1, 2.3)).pts.tolist() == [2.1]
    assert len(pickle.dumps(rows)) == len(pickle.dumps(FeatureStore(tmp_path / "rows")))  # no index sent to workers
    assert rows.read(Clip("a.mp4", 2.1, 2.3)).end == 2.3
    with pytest.raises(VideoError, match="there is no frame at 7"):
        rows.read(Clip("a.mp4", 7.0, 8.0))
    with pytest.raises(DataError, match=r"1 of the requested clips .* first is c\.mp4 \[0, end\)"):
        rows.read(Clip("c.mp4", 0.0, None))
    embedding = StoredEmbeddings(rows, ColourEncoder()).span(read_manifest(films)[0], 0.5, 2.2)
    assert embedding.times.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert embedding.duration == 2.2
    with caplog.at_level(logging.WARNING, logger="mova"):
        rows.expect([Clip("a.mp4", 0.5, 2.0), Clip("a.mp4", 2.1, 2.3), Clip("b.mp4", 0.0, None)], tmp_path)
    assert "1 clips are cut out of longer stored clips" in caplog.text
    assert "1 clips have no features" in caplog.text


def test_a_store_by_a_rule_holds_its_own_clips_only(films: Path, tmp_path: Path) -> None:
    rule = FrameRule(3, "segment_midpoint")
    write_features(tmp_path / "store", ColourEncoder(), films, rule)
    store = FeatureStore(tmp_path / "store")
    assert store.read(Clip("a.mp4", 0.0, None)).pts.tolist() == rule.read(tmp_path / "a.mp4").pts.tolist()
    assert store.find(Clip("a.mp4", 1.0, 2.0)) is None
    assert StoredEmbeddings(store, ColourEncoder())(read_manifest(films)[0]).frames.shape == (3, 8)
    with pytest.raises(IndexMismatchError, match="3 frames by segment_midpoint, not 4 frames by segment_midpoint"):
        store.require(feature_key(ColourEncoder(), FrameRule(4, "segment_midpoint")))


def test_an_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 48, 3), 220, np.uint8)).save(tmp_path / "a.png")
    manifest = write_manifest(tmp_path / "m.jsonl", [Row("a", "a.png", None, "train", (Caption("It is."),))])
    rule = FrameRule(1, fps=1.0)
    assert write_features(tmp_path / "store", ColourEncoder(), manifest, rule).frames == 1
    stored = PairDataset(manifest, split="train", sampling=rule, features=FeatureStore(tmp_path / "store"))[0]
    expected = ColourEncoder().encode_frames(rule.read(tmp_path / "a.png"))
    assert np.allclose(stored.frames.vectors, expected.numpy(), atol=1e-3)


def record(name: str) -> ClipRecord:
    return ClipRecord(Clip(name, 0.0, None), 1, 1, end=2.0)


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    times = np.array([0.0, 1.0])
    with FeatureWriter(tmp_path, replace(KEY, dtype="float16")) as writer:
        writer.add(record("a"), times, torch.ones(2, 4))
        with pytest.raises(DataError, match="not finite in float16"):
            writer.add(record("b"), times, torch.full((2, 4), 1e5))
    assert list(FeatureStore(tmp_path).records) == [Clip("a", 0.0, None)]


def test_vectors_written_before_a_stop_are_kept(tmp_path: Path) -> None:
    def stopped() -> None:
        with FeatureWriter(tmp_path, KEY) as writer:
            writer.add(record("a"), np.array([0.0]), torch.ones(1, 4))
            with pytest.raises(MovaError, match="another process"), FeatureWriter(tmp_path, KEY):
                pass
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert len(FeatureStore(tmp_path)) == 1


def test_damage_and_unknown_layouts_are_reported(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path, KEY) as writer:
        writer.add(record("a"), np.array([0.0]), torch.ones(1, 4))
    (shard,) = tmp_path.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:20])
    with pytest.raises(DataError, match=r"00000\.safetensors: is damaged"):
        FeatureStore(tmp_path)
    settings = json.loads((tmp_path / "store.json").read_text())
    (tmp_path / "store.json").write_text(json.dumps(settings | {"layout": 9}))
    with pytest.raises(IndexMismatchError, match="layout version is 9"):
        FeatureStore(tmp_path)
    (tmp_path / "store.json").write_text(json.dumps(settings | {"colour": 1}))
    with pytest.raises(DataError, match=r"store\.json has missing or unknown keys: colour;"):
        FeatureStore(tmp_path)
    for other in ("[]", "{}", '"layout"'):
        (tmp_path / "store.json").write_text(other)
        with pytest.raises(DataError, match="is not a feature store"):
            FeatureStore(tmp_path)
    with pytest.raises(UsageError, match="'int8'"):
        replace(KEY, dtype="int8")


def test_the_command_line(call: Callable[..., tuple[int, str, str]], films: Path, tiny_clip: Path) -> None:
    store = films.parent / "store"
    words = ("data", "features", films, store, "--model", tiny_clip)
    code, out, _ = call(*words, "--fps", 2, "--split", "train", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["written"], document["frames"]) == (2, 16)
    assert [row["video"] for row in document["failed"]] == ["b.mp4"]
    code, out, err = call(*words, "--fps", 2)
    assert code == 0
    assert "1 written, 2 unchanged, 1 unreadable files" in out
    assert "skipped b.mp4" in err
    code, _, err = call(*words, "--fps", 1)
    assert code == 1
    assert "not 1 frames per second" in err
    assert call(*words, "--fps", 1, "--rule", "head")[0] == 2
    assert call("data", "features", films.parent / "none.jsonl", store)[0] == 2
    write_manifest(films, [row for row in read_manifest(films) if row.id == "b"])
    assert call(*words, "--fps", 2)[0] == 1
