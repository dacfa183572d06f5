"""The recipe `own`: from a table of videos and captions to a model in use, with a hold-out of its own."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mova.data.manifest import Caption, Row, read_manifest
from mova.data.readers.registry import convert
from mova.errors import DataError, UsageError
from mova.models.known import DEFAULT_MODEL
from mova.models.registry import load
from mova.models.two_tower.build import TwoTowerBuild
from mova.search.index import Index
from mova.train.recipe import load_recipe
from mova.train.run import train
from mova.train.sources.hold_out import held_out_ids

FAST = {"training.num_train_epochs": "1", "training.report_to": "[]", "training.bf16": "false"}


def row(name: str, *videos: str) -> Row:
    return Row(name, videos[0], None, "train", (Caption("A cat."),), meta={"source_videos": list(videos)})


@pytest.fixture
def table(worlds_manifest: Path, tmp_path: Path) -> Path:
    """Every rendered video with its caption, and nothing else."""
    path = tmp_path / "captions.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "caption"])
        for entry in read_manifest(worlds_manifest):
            writer.writerow([Path(entry.video).name, entry.captions[0].text])
    return path


def test_a_table_becomes_a_model_that_indexes_and_searches(
    table: Path, worlds_manifest: Path, tiny_clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = read_manifest(worlds_manifest)
    folder = worlds_manifest.parent / Path(rows[0].video).parent
    manifest = convert("folder", table, tmp_path / "own.jsonl", videos=folder).manifest
    overrides = {"data.manifest": str(manifest), "model.source": str(tiny_clip), **FAST}
    with caplog.at_level(logging.INFO, logger="mova"):
        train(load_recipe("own", overrides), tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "training.json").read_text())
    held_out = summary["data"]["held_out"]["rows"]
    assert len(held_out) == max(1, round(0.2 * len(rows)))
    assert summary["data"]["rows"] == len(rows) - len(held_out)
    assert (
        f"held out {len(held_out)} of {len(rows)} source videos for it (data.hold_out 0.2): {held_out[0]}"
        in caplog.text
    )
    assert summary["best"] >= 0
    index = Index(tmp_path / "index", model=str(tmp_path / "run"))
    index.add(folder)
    assert index.search("a cat")
    trained, start = (load(str(path), precision="fp32", device="cpu") for path in (tmp_path / "run", tiny_clip))
    weights = dict(start.named_parameters())
    assert any(not torch.equal(weight, weights[name]) for name, weight in trained.named_parameters())
    assert torch.equal(trained.encode_text("A cat.").pooled, start.encode_text("A cat.").pooled)


def test_a_validation_split_of_the_manifest_is_used_instead(
    worlds_manifest: Path, tiny_clip: Path, tmp_path: Path
) -> None:
    splits = {entry.split for entry in read_manifest(worlds_manifest)}
    assert "val" in splits
    overrides = {"data.manifest": str(worlds_manifest), "model.source": str(tiny_clip), **FAST}
    train(load_recipe("own", overrides), tmp_path / "run")
    assert "held_out" not in json.loads((tmp_path / "run" / "training.json").read_text())["data"]


def test_rows_are_held_out_by_source_video_whatever_their_order() -> None:
    rows = [row(f"{video}-{clip}", video) for video in "abcdefghij" for clip in range(3)]
    chosen = held_out_ids(rows, 0.2, "here")
    assert len(chosen) == 6
    assert chosen == held_out_ids(rows[::-1], 0.2, "here")
    assert {name[0] for name in chosen}.isdisjoint({entry.id[0] for entry in rows if entry.id not in chosen})
    mixed = [
        *rows,
        *(replace(row(f"mix-{video}", video, source_video), id=f"mix-{video}") for video, source_video in ("ab", "cd")),
    ]
    for entry in mixed:
        if {name[0] for name in chosen} & set(entry.meta["source_videos"]):
            assert entry.id in held_out_ids(mixed, 0.2, "here")
    with pytest.raises(DataError, match="here has 1 source videos: too few"):
        held_out_ids([row("a", "a")], 0.2, "here")
    with pytest.raises(UsageError, match=r"data\.hold_out must be between 0 and 1, not 20"):
        held_out_ids(rows, 20, "here")


@pytest.mark.parametrize(("freeze", "learns"), [("none", {True}), ("text", {"vision"}), ("vision", {"text"})])
def test_a_tower_can_be_frozen(freeze: str, learns: set[object], tiny_clip: Path) -> None:
    model = TwoTowerBuild(str(tiny_clip), freeze=freeze).build()  # type: ignore[arg-type]
    vision = {id(weight) for weight in model.video_parameters()}
    for name, weight in model.backbone.named_parameters():
        tower = "vision" if id(weight) in vision else "text"
        assert weight.requires_grad == (name == "logit_scale" or True in learns or tower in learns), name


def test_the_recipe_starts_from_the_default_model() -> None:
    recipe = load_recipe("own")
    assert recipe.model["source"] == DEFAULT_MODEL
    assert recipe.training["per_device_train_batch_size"] <= 8
    assert recipe.data["frames"] <= 8
