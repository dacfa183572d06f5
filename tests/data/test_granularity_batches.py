"""Pairs by granularity: what a row is of, batches of one, shares, order, leaving out; videos with labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mova.data.dataset import Draw, Pair, PairDataset
from mova.data.granularity import LengthRule, row_granularity
from mova.data.granularity_batches import (
    GranularityBatchSampler,
    GranularitySettings,
    MixedPairDataset,
    read_granularities,
)
from mova.data.labelled import LabelledVideos
from mova.data.manifest import Caption, Row, fingerprint, read_manifest, write_manifest
from mova.data.quarantine import Quarantined, write_quarantine
from mova.errors import DataError, UsageError
from mova.video.reader import FrameRule

RULE = LengthRule()
SHORT, LONG = "A cat runs.", "word " * 33


def row(seconds: float | None = 10.0, text: str = SHORT, **more: object) -> Row:
    return replace(Row("a", "a.mp4", seconds, "train", (Caption(text),)), **more)


@pytest.mark.parametrize(
    ("given_row", "names", "name"),
    [
        (row(10.0), ["SVST", "LVLT"], "SVST"),
        (row(24.5), ["SVST", "LVLT"], "SVST"),
        (row(24.6), ["SVST", "LVLT"], "LVST"),
        (row(180.0, LONG), ["SVST", "LVLT"], "LVLT"),
        (row(10.0, LONG), ["SVST", "LVLT"], "SVLT"),
        (row(180.0, start=3.0, end=9.0), ["SVST", "LVLT"], "SVST"),
        (row(None), ["SVST", "LVLT"], "IT"),
        (row(10.0), ["LVLT"], "LVLT"),
        (row(10.0, meta={"granularity": "LVST"}), ["LVLT"], "LVST"),
    ],
)
def test_granularity_of_a_row(given_row: Row, names: list[str], name: str) -> None:
    assert row_granularity(given_row, names, RULE) == name


def test_an_unknown_granularity_is_named() -> None:
    with pytest.raises(DataError, match=r"row 'a': granularity 'XL'"):
        row_granularity(row(meta={"granularity": "XL"}), ["LVLT"], RULE)


@settings(max_examples=40)
@given(
    st.lists(st.integers(3, 40), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(0, 3),
    st.booleans(),
)
def test_every_batch_is_of_one_granularity_and_no_pair_comes_twice(
    sizes: list[int], batch: int, epoch: int, shared: bool
) -> None:
    names = [f"g{i}" for i in range(len(sizes))]
    shares = {name: float(i + 1) for i, name in enumerate(names)} if shared else None
    sampler = GranularityBatchSampler(dict(zip(names, sizes, strict=True)), batch, 5, shares)
    sampler.set_epoch(epoch)
    draws = list(sampler)
    again = GranularityBatchSampler(dict(zip(names, sizes, strict=True)), batch, 5, shares)
    again.set_epoch(epoch)
    assert list(again) == draws == list(sampler)
    assert len(draws) == len(sampler)
    assert {draw.epoch for draw in draws} == {epoch}
    of = np.repeat(np.arange(len(sizes)), sizes)
    for first in range(0, len(draws), batch):
        items = [draw.item for draw in draws[first : first + batch]]
        assert len(set(of[items])) == 1
        assert len(set(items)) == batch
    draw_counts = Counter(draw.item for draw in draws)
    if shares is None:
        assert set(draw_counts.values()) == {1}
        assert len(draw_counts) == sum(size - size % batch for size in sizes)
    for index in range(len(sizes)):
        counts = [draw_counts[item] for item in np.flatnonzero(of == index)]
        assert max(counts) - min(counts) <= 1 + max(counts) * (sizes[index] % batch > 0)


def test_shares_are_shares_of_batches() -> None:
    sampler = GranularityBatchSampler({"a": 80, "b": 20}, 10, 0, {"a": 1.0, "b": 4.0})
    of = [draw.item < 80 for draw in sampler]
    assert (len(of), sum(of)) == (100, 20)
    sampler.set_epoch(1)
    assert [draw.item < 80 for draw in sampler] != of


def test_a_granularity_smaller_than_a_batch_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"batch of 4: \{'b': 3\}"):
        GranularityBatchSampler({"a": 8, "b": 3}, 4, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "is empty"),
        ({"XL": {"frames": 3}}, "has unknown names XL"),
        ({"LVLT": {}}, "frames"),
        ({"LVLT": {"frames": 3, "surprise": 1}}, "surprise"),
        ({"LVLT": {"frames": 3, "share": 0}}, "must be positive"),
        ({"LVLT": {"frames": 3, "share": 1}, "SVST": {"frames": 2}}, "give a share to all granularities or to none"),
    ],
)
def test_errors_of_granularities_in_a_recipe(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_granularities(settings)


def pairs(manifest: Path, granularities: dict[str, GranularitySettings]) -> MixedPairDataset:
    def build(settings: GranularitySettings, keep: object) -> PairDataset:
        rule = FrameRule(settings.frames, "linspace")
        return PairDataset(manifest, split="train", sampling=rule, keep=keep)

    rows = [row for row in read_manifest(manifest) if row.split == "train"]
    return MixedPairDataset.from_rows(build, granularities, rows, RULE)


def test_pairs_know_their_granularity_and_its_frames(
    worlds_manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [replace(row, video=str(worlds_manifest.parent / row.video)) for row in read_manifest(worlds_manifest)]
    rows = [row for row in rows if row.split == "train"]
    granularities = ["SVST", "LVLT", "SVST", "LVST", "LVLT", "SVST"]
    marked = [replace(row, meta={"granularity": name}) for row, name in zip(rows, granularities, strict=True)]
    manifest = write_manifest(tmp_path / "manifest.jsonl", marked)
    dataset = pairs(
        manifest, {"LVLT": GranularitySettings(3), "SVST": GranularitySettings(2), "IT": GranularitySettings(1)}
    )
    assert "{'LVST': 1}" in caplog.text
    assert "no row has granularity IT" in caplog.text
    made = [dataset[Draw(i, 1)] for i in range(len(dataset))]
    assert all(isinstance(pair, Pair) for pair in made)
    assert [pair.granularity for pair in made] == ["LVLT"] * 2 + ["SVST"] * 3
    assert [len(pair.frames) for pair in made] == [3, 3, 2, 2, 2]
    assert [pair.id for pair in made] == [rows[i].id for i in (1, 4, 0, 2, 5)]
    assert len({pair.group for pair in made}) == 5
    with pytest.raises(DataError, match="no row has any of the granularities SVLT"):
        pairs(manifest, {"SVLT": GranularitySettings(1)})


def test_labels_of_videos(worlds_manifest: Path, tmp_path: Path) -> None:
    rows = [replace(row, video=str(worlds_manifest.parent / row.video)) for row in read_manifest(worlds_manifest)][:4]
    meta = [{"label": 3, "task": "a"}, {"label": "x", "task": "a"}, {"label": ["x", "y"], "task": "b"}, {"other": 1}]
    marked = [replace(row, split="train", captions=(), meta=fields) for row, fields in zip(rows, meta, strict=True)]
    manifest = write_manifest(tmp_path / "manifest.jsonl", marked)
    rule = FrameRule(2, "linspace")
    labelled = LabelledVideos(manifest, split="train", sampling=rule)
    assert (len(labelled), labelled.labels, labelled.multiple) == (3, ["3", "x", "y"], True)
    assert [labelled[i].classes.tolist() for i in range(3)] == [
        [True, False, False],
        [False, True, False],
        [False, True, True],
    ]
    assert len(labelled[Draw(0, 4)].frames) == 2
    task_a = LabelledVideos(manifest, split="train", sampling=rule, task="a")
    assert (len(task_a), task_a.labels, task_a.multiple) == (2, ["3", "x"], False)
    bad = write_quarantine(tmp_path / "bad.jsonl", [Quarantined(rows[0].id, "lost.mp4", "missing", "no such file")])
    remaining = LabelledVideos(manifest, split="train", sampling=rule, task="a", quarantine=bad)
    assert ([row.id for row in remaining.rows], remaining.labels, remaining.left_out) == (
        [rows[1].id],
        ["x"],
        (rows[0].id,),
    )
    summary = remaining.to_json()
    assert (summary["rows"], summary["classes"], summary["quarantined"]) == (1, 1, 1)
    assert summary["fingerprint"] == fingerprint(marked[1:2])
    with pytest.raises(DataError, match="labels that are not in training: x"):
        LabelledVideos(manifest, split="train", sampling=rule, labels=["3", "y"])
    with pytest.raises(DataError, match=r"no row of task 'c'.*tasks with labels: a, b"):
        LabelledVideos(manifest, split="train", sampling=rule, task="c")
