"""Videos by id: ranges, pictures, clips; files that are not (any more) the indexed ones are never sent."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

import numpy as np
from PIL import Image

from mova.search.index import Index
from mova.serve.files.cache import DiskCache
from mova.serve.files.media import UnsatisfiableRangeError, parse_range
from mova.video.probe import probe
from mova.video.reader import read_times
from tests.serve.conftest import API, Site
from tests.support.fakes import COLOURS, ColourEncoder, write_colours


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 100)),
        ("bytes=90-500", (90, 100)),
        ("bytes=-5", (95, 100)),
        ("bytes=-500", (0, 100)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=0x1-2", None),
        ("bytes=" + "9" * 40 + "-", None),
        ("bytes=\u0661-\u0662", None),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_ranges_outside_of_the_file(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, 100)


def test_the_file_is_sent_whole_and_in_ranges(site: Site) -> None:
    data = (site.films / "a.mp4").read_bytes()
    url = f"{site.video('a.mp4')}/file"
    whole = site.client.get(url)
    assert (whole.status_code, whole.content) == (200, data)
    assert whole.headers["content-type"] == "video/mp4"
    part = site.client.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(data)}"
    assert site.client.get(url, headers={"Range": f"bytes={len(data)}-"}).status_code == 416
    assert site.client.get(url, headers={"Range": "bytes=-4"}).content == data[-4:]
    same = site.client.get(url, headers={"If-None-Match": whole.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    stale = site.client.get(url, headers={"Range": "bytes=0-3", "If-Range": '"another"'})
    assert stale.status_code == 200
    head = site.client.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(data)))
    some = site.client.head(url, headers={"Range": "bytes=10-19"})
    assert (some.status_code, some.headers["content-length"]) == (206, "10")
    saved = site.client.get(url, params={"download": True})
    assert "filename*=UTF-8''a.mp4" in saved.headers["content-disposition"]


def test_head_reads_nothing_of_the_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{site.video('a.mp4')}/file"
    whole = site.client.get(url)

    def refuse(*_: object) -> bytes:
        raise AssertionError("the file is read")

    monkeypatch.setattr(os, "pread", refuse)
    head = site.client.head(url)
    assert head.status_code == 200
    same = ("content-length", "content-type", "etag", "accept-ranges")
    assert {name: head.headers[name] for name in same} == {name: whole.headers[name] for name in same}


@pytest.mark.parametrize(
    "name",
    [
        "0" * 20,
        "..",
        "%2e%2e",
        "..%2f..%2f..%2fetc%2fpasswd",
        "....//etc/passwd",
        "%00",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "a.mp4",
        "-1",
        "x" * 5000,
        "%F0%9F%98%80",
        "..%5c..%5cwindows",
    ],
)
def test_only_ids_of_the_index_are_served(site: Site, name: str) -> None:
    for what in ("file", "thumbnail", "relevance?q=red", "preview?start=0&end=1", "clip?start=0&end=1", ""):
        answer = site.client.get(f"{API}/videos/{name}/{what}")
        assert answer.status_code in {400, 404, 405}, (name, what)
        assert "root:" not in answer.text
    for path in (f"/static/{name}", f"/static/../{name}", f"/static//{name}"):
        answer = site.client.get(path)
        assert answer.status_code in {404, 405} or answer.url.path == "/", path
        assert "root:" not in answer.text


def test_a_film_that_is_not_in_the_index_is_not_served(site: Site) -> None:
    write_colours(site.films / "new.mp4", [("cyan", 1)])
    assert site.client.get(f"{site.video('new.mp4')}/file").status_code == 404


def test_files_that_changed_or_are_gone_are_not_served(site: Site) -> None:
    (site.films / "a.mp4").write_bytes(b"a secret")
    (site.films / "b.mp4").unlink()
    for what in ("file", "thumbnail?t=1", "preview?start=0&end=1"):
        changed = site.client.get(f"{site.video('a.mp4')}/{what}")
        assert changed.status_code == 409
        assert b"secret" not in changed.content
        assert site.client.get(f"{site.video('b.mp4')}/{what}").status_code == 410
    assert str(site.films) not in site.client.get(f"{site.video('b.mp4')}/file").text


def test_a_link_in_the_place_of_a_file_is_not_followed_to_something_else(site: Site, tmp_path: Path) -> None:
    film = site.films / "a.mp4"
    status = film.stat()
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * status.st_size)
    os.utime(secret, ns=(status.st_atime_ns, status.st_mtime_ns))  # even with the same size and time
    film.unlink()
    film.symlink_to(secret)
    answer = site.client.get(f"{site.video('a.mp4')}/file")
    assert answer.status_code == 409
    assert b"ssss" not in answer.content
    assert site.client.get(f"{site.video('a.mp4')}/thumbnail?t=0").status_code == 409


def test_a_link_to_the_indexed_content_is_served(site: Site, tmp_path: Path) -> None:
    """A folder that was moved and linked keeps working: what counts is the content."""
    film = site.films / "a.mp4"
    data = film.read_bytes()
    film.rename(tmp_path / "moved.mp4")
    film.symlink_to(tmp_path / "moved.mp4")
    assert site.client.get(f"{site.video('a.mp4')}/file").content == data


def test_a_pipe_in_the_place_of_a_file_does_not_block(site: Site) -> None:
    (site.films / "a.mp4").unlink()
    os.mkfifo(site.films / "a.mp4")
    assert site.client.get(f"{site.video('a.mp4')}/file").status_code == 409


def test_no_descriptor_stays_open(site: Site) -> None:
    url = f"{site.video('a.mp4')}/file"
    site.client.get(url)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        site.client.get(url, headers={"Range": "bytes=0-9"})
        site.client.head(url)
        site.client.get(url, headers={"Range": "bytes=9999999-"})
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_thumbnails_show_the_frame_on_display(site: Site) -> None:
    for time, colour in ((0.5, "red"), (3.0, "blue"), (5.5, "green"), (99.0, "green")):
        answer = site.client.get(f"{site.video('a.mp4')}/thumbnail", params={"t": time})
        assert answer.headers["content-type"] == "image/jpeg"
        pixels = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
        assert pixels.shape == (48, 64, 3)
        assert np.abs(pixels.mean(axis=(0, 1)) - COLOURS[colour]).max() < 12, time
    again = site.client.get(f"{site.video('a.mp4')}/thumbnail", params={"t": 0.5})
    assert "immutable" in again.headers["cache-control"]


@pytest.mark.parametrize("time", ["-1", "nan", "inf", "x", ""])
def test_times_that_are_not_possible_are_refused(site: Site, time: str) -> None:
    assert site.client.get(f"{site.video('a.mp4')}/thumbnail?t={time}").status_code == 400
    assert site.client.get(f"{site.video('a.mp4')}/clip?start={time}&end=5").status_code == 400


def test_clips_hold_exactly_their_span(site: Site, tmp_path: Path) -> None:
    answer = site.client.get(f"{site.video('a.mp4')}/clip", params={"start": 2, "end": 5})
    assert answer.status_code == 200
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(answer.content)
    assert probe(clip).duration == pytest.approx(3.0, abs=0.01)
    assert np.abs(read_times(clip, [1.5]).pixels[0].mean(axis=(0, 1)) - COLOURS["blue"]).max() < 12
    assert "a_2.00-5.00.mp4" in answer.headers["content-disposition"]
    preview = site.client.get(f"{site.video('a.mp4')}/preview", params={"start": 2, "end": 5})
    assert preview.headers["accept-ranges"] == "bytes"
    for start, end in ((5, 2), (2, 2), (50, 60)):
        assert site.client.get(f"{site.video('a.mp4')}/clip?start={start}&end={end}").status_code == 400


def test_pictures_of_broken_files_are_an_error_not_a_crash(site: Site, tmp_path: Path) -> None:
    film = write_colours(site.films / "broken.mp4", [("white", 3)])
    index = Index(site.settings.index, ColourEncoder())
    index.add([site.films])
    data = bytearray(film.read_bytes())
    status = film.stat()
    middle = data.index(b"mdat")
    end = middle - 4 + int.from_bytes(data[middle - 4 : middle], "big")
    data[middle + 4 : end] = bytes(end - middle - 4)  # all pictures; the table of them is sound
    film.write_bytes(data)
    os.utime(film, ns=(status.st_atime_ns, status.st_mtime_ns))
    answer = site.client.get(f"{site.video('broken.mp4')}/thumbnail", params={"t": 2.9})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("broken.mp4")
    assert "/proc" not in answer.text
    assert str(tmp_path) not in answer.text


def test_the_library_is_listed_in_pages(site: Site) -> None:
    first = site.client.get(f"{API}/videos", params={"limit": 2}).json()
    rest = site.client.get(f"{API}/videos", params={"limit": 2, "cursor": first["next"]}).json()
    assert [video["name"] for video in first["videos"] + rest["videos"]] == ["a.mp4", "b.mp4", "c.mp4"]
    assert first["total"] == 3
    assert "next" not in rest
    assert first["duration"] == pytest.approx(6 + 5 + 4, abs=0.2)
    assert [v["name"] for v in site.client.get(f"{API}/videos?name=DEEP").json()["videos"]] == ["c.mp4"]


def test_the_cache_keeps_to_its_limit_and_forgets_the_oldest(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", 1000)
    made = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"x" * 100)

    paths = [cache.get(f"key {i}", ".bin", make) for i in range(10)]
    for i, path in enumerate(paths):
        os.utime(path, ns=(i, i))
    assert cache.get("key 0", ".bin", make) == paths[0]  # used again: no longer the oldest
    assert len(made) == 10
    cache.get("one more", ".bin", make)
    assert cache.size <= 1000
    assert sum(file.stat().st_size for file in (tmp_path / "cache").iterdir()) == cache.size
    assert paths[0].exists()
    assert not paths[1].exists()
    assert DiskCache(tmp_path / "cache", 1000).size == cache.size


def test_a_failure_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", 1000)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.get("key", ".bin", fail)
    assert list((tmp_path / "cache").iterdir()) == []
