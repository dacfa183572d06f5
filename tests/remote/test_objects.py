"""Objects as files: what they hold, how much of them is read, and what is said about one that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mova.errors import MovaError, UsageError
from mova.remote import blocks
from mova.remote.blocks import BLOCK, Blocks, ObjectFile, traffic
from mova.remote.objects import content_key, list_objects, open_object, status_of, uri_of
from mova.video.probe import probe
from mova.video.reader import read_times
from tests.support.fakes import write_colours

DATA = np.random.default_rng(20).integers(0, 256, 3 * BLOCK + 1000, dtype=np.uint8).tobytes()


def opened(data: bytes = DATA) -> ObjectFile:
    return ObjectFile("s3://bucket/a", Blocks(len(data), lambda start, count: data[start : start + count]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(DATA) + 10), st.integers(-1, 2 * BLOCK)), max_size=8))
def test_any_sequence_of_reads_gives_the_bytes_of_the_object(reads: list[tuple[int, int]]) -> None:
    file = opened()
    for position, count in reads:
        file.seek(position)
        end = None if count < 0 else position + count
        assert file.read(count) == DATA[position:end]
        assert file.tell() == max(position, min(len(DATA), position + count if count >= 0 else len(DATA)))


def test_a_part_costs_its_block_once_and_reading_in_order_takes_fewer_and_larger_parts() -> None:
    file, before = opened(), (traffic.requests, traffic.bytes)
    for position in (BLOCK + 5, BLOCK + 900, BLOCK):
        file.seek(position)
        file.read(100)
    assert (traffic.requests - before[0], traffic.bytes - before[1]) == (1, BLOCK)
    large = bytes(64 * BLOCK)
    file, before = opened(large), (traffic.requests, traffic.bytes)
    assert file.read() == large
    assert traffic.bytes - before[1] == len(large)
    assert traffic.requests - before[0] < 10


def test_old_blocks_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "CACHE_BYTES", 4 * BLOCK)
    monkeypatch.setattr(blocks, "LARGEST_READ", BLOCK)
    data = bytes(range(256)) * (BLOCK // 8)
    kept = Blocks(len(data), lambda start, count: data[start : start + count])
    assert ObjectFile("s3://bucket/a", kept).read() == data
    assert len(kept._kept) <= 5


def test_an_object_that_ends_early_is_an_error_and_not_a_shorter_file() -> None:
    file = ObjectFile("s3://bucket/a", Blocks(len(DATA), lambda start, count: DATA[start : start + count][:100]))
    with pytest.raises(OSError, match="ends early"):
        file.read()


def test_a_video_of_an_fsspec_file_system_is_read_as_the_local_file(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    local = write_colours(tmp_path / "a.mp4", [("red", 2.0), ("blue", 2.0)])
    memory = fsspec.filesystem("memory")
    memory.pipe({"/films/a.mp4": local.read_bytes(), "/films/.hidden/b.mp4": b"x", "/films/notes.txt": b"y"})
    assert list(list_objects("memory://films")) == ["memory://films/a.mp4", "memory://films/notes.txt"]
    uri = "memory://films/a.mp4"
    assert list_objects(uri) == {uri: status_of(uri)}
    assert status_of(uri).size == local.stat().st_size
    assert probe(uri).duration == probe(local).duration
    times = [0.5, 3.5]
    np.testing.assert_array_equal(read_times(uri, times).pixels, read_times(local, times).pixels)
    key = content_key(uri)
    memory.pipe(uri, b"other")
    assert content_key(uri) != key
    assert open_object(uri).read() == b"other"
    with pytest.raises(UsageError, match="no such object or folder"):
        list_objects("memory://nothing")


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("s3://bucket/a b%.mp4", "s3://bucket/a b%.mp4"),
        (Path("s3://bucket/a.mp4"), None),
        ("S3://bucket/a.mp4", "s3://bucket/a.mp4"),
        ("s3:/bucket/a.mp4", None),
        ("https://example.org/a.mp4", None),
        ("films/s3://a.mp4", None),
    ],
)
def test_which_paths_are_objects(path: str | Path, uri: str | None) -> None:
    assert uri_of(path) == uri


def test_a_uri_without_a_bucket_and_a_service_without_its_package_are_one_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match="names no bucket"):
        list_objects("s3:///films") if os.sep == "/" else list_objects("s3://")
    from mova.remote import systems

    monkeypatch.setattr(systems, "_gs", lambda place: __import__("a_package_that_is_missing"))
    systems._system.cache_clear()
    with pytest.raises(MovaError, match="gs:// needs the package gcsfs"):
        list_objects("gs://bucket/films")
    systems._system.cache_clear()
