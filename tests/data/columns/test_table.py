"""Manifests as tables: the same rows, items, groups and granularities as the JSON lines that they were written from."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from mova.data.columns.items import items_of
from mova.data.columns.selection import (
    RowFilter,
    count_granularities,
    open_rows,
    rows_fingerprint,
    split_names,
    split_rows,
)
from mova.data.columns.table import RowTable, write_table
from mova.data.dataset import Draw, Pair, PairDataset
from mova.data.granularity import LengthRule
from mova.data.manifest import Caption, Row, Segment, TimedSentence, read_manifest, write_manifest
from mova.data.quarantine import Quarantined, write_quarantine
from mova.errors import DataError, UsageError
from mova.video.reader import FrameRule

Call = Callable[..., tuple[int, str, str]]
LONG = "word " * 33
NAMES = ("SVST", "LVLT", "IT")


def rows_of_all_kinds() -> list[Row]:
    """Rows with every optional part present and absent."""
    timed = Caption("A cat. A dog.", (TimedSentence("A cat.", 0.0, 2.5), TimedSentence("A dog.")))
    parts = (Segment("x.mp4", 1.0, 3.0), Segment("y.mp4", 0.0, 2.5))
    return [
        Row(
            "a",
            "a.mp4",
            10.0,
            "train",
            (timed, Caption("Zwei Hunde \u2014 \U0001f415.")),
            2.0,
            8.0,
            "web",
            {"view": "first"},
        ),
        Row("b", "a.mp4", 10.0, "train", (Caption("Other text."),), 2.0, 8.0, meta={"view": "third", "n": [1, None]}),
        Row("c", "c.jpg", None, "val", (Caption("An image."),)),
        Row("d", "", 4.5, "train", (Caption(LONG), Caption("Short."), Caption("Third.")), parts=parts),
        Row("e", "e.mp4", 90.0, "train", (Caption(LONG),), meta={"granularity": "LVLT2"}),
        Row(
            "f",
            "f.mp4",
            90.0,
            "test",
            (),
            meta={"question": "Q?", "options": ["x", "y"], "answer": 1, "source_video": "s"},
        ),
        Row("g", "g.mp4", 60.0, "train", (Caption(LONG),)),
    ]


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Row], RowTable]:
    """The rows, and their table in batches of three."""
    monkeypatch.setattr("mova.data.columns.table.ROWS_PER_BATCH", 3)
    manifest = write_manifest(tmp_path / "m.jsonl", rows_of_all_kinds())
    assert write_table(manifest, tmp_path / "m.arrow") == 7
    return read_manifest(manifest), RowTable(tmp_path / "m.arrow")


def test_rows_are_those_of_the_manifest(both: tuple[list[Row], RowTable], tmp_path: Path) -> None:
    rows, table = both
    assert list(table) == rows
    assert [table[i] for i in (6, 0, -1, -7)] == [rows[6], rows[0], rows[6], rows[0]]
    assert list(table[1:4]) == rows[1:4]
    with pytest.raises(IndexError):
        table[7]
    again = pickle.loads(pickle.dumps(table.select(np.array([True, False] * 3 + [True]))))
    assert [row.id for row in again] == ["a", "c", "e", "g"]
    assert read_manifest(tmp_path / "m.arrow") == rows


@pytest.mark.parametrize("captions", ["paragraph", "first", "caption", "sentence", "answer", "clip", "action"])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    "keep",
    [
        None,
        RowFilter(view="first"),
        RowFilter(without=frozenset("bd")),
        RowFilter(only=frozenset("dx")),
        RowFilter(granularity="LVLT", granularities=NAMES),
        RowFilter(granularity="IT", granularities=("IT",)),
    ],
)
def test_selections_and_items_are_equal(
    both: tuple[list[Row], RowTable], captions: str, split: str, keep: RowFilter | None
) -> None:
    rows, table = both
    expected, selected = split_rows(rows, split, captions, keep), split_rows(table, split, captions, keep)
    assert list(selected) == list(expected)
    listed, tabled = items_of(expected, captions), items_of(selected, captions)
    assert [tabled.place(i) for i in range(len(tabled))] == [listed.place(i) for i in range(len(listed))]
    for i in range(len(listed)):
        for j in range(i):
            assert (tabled.group(i) == tabled.group(j)) == (listed.group(i) == listed.group(j)), (i, j)


def test_rows_of_one_clip_are_one_group(both: tuple[list[Row], RowTable]) -> None:
    rows, table = both
    for of in (rows, table):
        items = items_of(split_rows(of, "train", "caption"), "caption")
        groups = [items.group(i) for i in range(len(items))]
        assert [groups.index(group) for group in groups] == [0, 0, 0, 3, 3, 3, 6, 7]  # a and b show one clip


def test_granularities_splits_and_source_videos_are_equal(both: tuple[list[Row], RowTable]) -> None:
    rows, table = both
    for names in (NAMES, ("SVST",)):
        captioned = ([row for row in rows if row.captions], table.select(table.caption_counts() > 0))
        assert count_granularities(captioned[0], names, LengthRule()) == count_granularities(
            captioned[1], names, LengthRule()
        )
    assert split_names(rows, "first") == ["train", "val"]
    assert split_names(table, "first") == ["test", "train", "val"]
    assert table.shared_origins({"x", "s", "none"}) == ["s", "x"]


def test_an_unknown_granularity_is_named_if_its_row_is_selected(tmp_path: Path) -> None:
    odd = replace(rows_of_all_kinds()[0], id="odd", meta={"granularity": "XX"})
    manifest = write_manifest(tmp_path / "m.jsonl", [*rows_of_all_kinds(), odd])
    write_table(manifest, tmp_path / "m.arrow")
    for rows in (read_manifest(manifest), RowTable(tmp_path / "m.arrow")):
        keep = RowFilter(granularity="LVLT", granularities=NAMES)
        with pytest.raises(DataError, match="row 'odd': granularity 'XX' is unknown"):
            split_rows(rows, "train", "first", keep)
        assert not split_rows(rows, "val", "first", keep)


def test_fingerprints_cover_texts_and_times_not_the_place_of_videos(tmp_path: Path) -> None:
    rows = rows_of_all_kinds()

    def fingerprint(changed: list[Row]) -> str:
        write_table(write_manifest(tmp_path / "m.jsonl", changed), tmp_path / "m.arrow")
        return RowTable(tmp_path / "m.arrow").fingerprint()

    whole = fingerprint(rows)
    assert fingerprint(rows[::-1]) == whole
    assert fingerprint([replace(rows[0], video="elsewhere/a.mp4"), *rows[1:]]) == whole
    assert fingerprint([replace(rows[0], start=3.0), *rows[1:]]) != whole
    assert fingerprint([replace(rows[0], captions=rows[0].captions[:1]), *rows[1:]]) != whole
    table = RowTable(tmp_path / "m.arrow")
    halves = rows_fingerprint([table[:3], table[3:]])
    assert halves == rows_fingerprint([table[3:], table[:3]]) != rows_fingerprint([table[:3]])


def test_pairs_of_a_table_are_those_of_the_manifest(worlds_manifest: Path, tmp_path: Path) -> None:
    table = tmp_path / "worlds.arrow"
    write_table(worlds_manifest, table)
    for captions in ("paragraph", "caption"):
        settings: dict[str, Any] = {
            "split": "train",
            "sampling": FrameRule(2, rule="linspace"),
            "captions": captions,
            "seed": 3,
        }
        plain, columns = PairDataset(worlds_manifest, **settings), PairDataset(table, **settings)
        assert len(plain) == len(columns)
        columns = pickle.loads(pickle.dumps(columns))
        for index in range(0, len(plain), 5):
            first, second = plain[Draw(index, 2)], columns[Draw(index, 2)]
            assert isinstance(first, Pair)
            assert isinstance(second, Pair)
            assert (first.id, first.text, first.units) == (second.id, second.text, second.units)
            assert np.array_equal(first.frames.pixels, second.frames.pixels)  # type: ignore[union-attr]


def test_quarantined_rows_are_left_out(both: tuple[list[Row], RowTable], tmp_path: Path) -> None:
    listed = write_quarantine(tmp_path / "q.jsonl", [Quarantined("b", "a.mp4", "missing", "gone")])
    kept, left_out = open_rows(both[1].path, listed)
    assert ([row.id for row in kept], left_out) == (list("acdefg"), ("b",))
    write_quarantine(listed, [Quarantined("zz", "a.mp4", "missing", "gone")])
    with pytest.raises(DataError, match="it belongs to another manifest"):
        open_rows(both[1].path, listed)


def test_paths_out_of_the_folder_are_refused_in_tables_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Row("a", "x/../a.mp4", None, "train", (Caption("x"),))
    synthetic = replace(inside, video="a.mp4", meta={"synthetic": [{"video": "../s.mp4"}]})
    parts = replace(inside, video="", duration=1.0, parts=(Segment("../p.mp4", 0.0, 1.0),))
    for row in (replace(inside, video="../a.mp4"), synthetic, parts):
        manifest = write_manifest(tmp_path / "m.jsonl", [replace(inside, id="b"), row])
        monkeypatch.setenv("MOVA_MANIFEST_OUTSIDE", "1")
        write_table(manifest, tmp_path / "m.arrow")
        assert len(open_rows(tmp_path / "m.arrow")[0]) == 2
        monkeypatch.delenv("MOVA_MANIFEST_OUTSIDE")
        for read in (open_rows, read_manifest):
            with pytest.raises(DataError, match=r"m\.arrow, row 2: the path '\.\./.\.mp4' leads out"):
                read(tmp_path / "m.arrow")  # type: ignore[operator]


def test_the_command_writes_a_table_beside_or_elsewhere(worlds_manifest: Path, tmp_path: Path, call: Call) -> None:
    target = tmp_path / "far" / "worlds.arrow"
    target.parent.mkdir()
    code, out, err = call("data", "table", worlds_manifest, target)
    assert code == 0, err
    assert "10 rows" in out
    first = RowTable(target)[0]
    assert (target.parent / first.video).is_file()
    twice = [*read_manifest(worlds_manifest)]
    (tmp_path / "twice.jsonl").write_text(
        worlds_manifest.read_text() + worlds_manifest.read_text().splitlines()[3] + "\n"
    )
    code, _, err = call("data", "table", tmp_path / "twice.jsonl", tmp_path / "twice.arrow")
    assert code == 1
    assert f"line 11: duplicate id {twice[3].id!r}, first used in line 4" in " ".join(err.split())
    assert not (tmp_path / "twice.arrow").exists()
    assert call("data", "table", worlds_manifest, tmp_path / "x.parquet")[0] == 2


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.arrow"
    path.write_bytes(b"not a table")
    with pytest.raises(DataError, match=r"m\.arrow: cannot be read as a table of a manifest"):
        RowTable(path)
    with ipc.new_file(str(path), pa.schema([("id", pa.string())])) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist([{"id": "a"}]))
    with pytest.raises(DataError, match="is not a table of a manifest"):
        RowTable(path)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="contains no rows"):
        write_table(tmp_path / "empty.jsonl", path)
    with pytest.raises(UsageError, match="ends in \\.arrow"):
        write_table(tmp_path / "empty.jsonl", tmp_path / "m.table")
