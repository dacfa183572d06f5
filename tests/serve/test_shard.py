"""Indexes of services searched as one with local ones: the moments and rates of one index that has all videos."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from mova.cli.moment_files import MomentFiles
from mova.errors import MovaError, UsageError
from mova.search.evidence import Answer
from mova.search.export import export_clips
from mova.search.index import Index
from mova.search.narrow.filter import Filter
from mova.search.shards import service
from mova.search.shards.index import ShardedIndex
from mova.search.shards.service import ServiceReader
from mova.search.shards.wire import packed_frames, unpacked_frames
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.serve.app import build
from mova.serve.settings import Settings
from mova.utils.files import ELSEWHERE, named_by_machine, on_its_machine
from tests.search.shards.test_sharded_index import PARTS, TEXTS, Described, film, make, rows, unit
from tests.serve.conftest import running
from tests.support.fakes import ColourEncoder
from tests.support.known import WIDTH, drawn

TOKEN = "a token of more than 16 letters"


def there(answer: Answer) -> list[tuple[Any, ...]]:
    """The rows of an answer, with the paths that the videos have on their machines."""
    return [(on_its_machine(path), *row) for path, *row in rows(answer)]


def add(folder: str, number: int) -> VideoRecord:
    """Write another video into an index, as a run does while it is not finished."""
    frames, record = film(number)
    store = Store(folder)
    store.append([record.content], [frames])
    store.commit([record])
    return record


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folder of an index of nine videos, and those of three that have the same videos together."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MOVA_TOKEN", TOKEN)
    parts = [make(tmp_path / f"part-{first}", range(first, last)) for first, last in PARTS]
    return [make(tmp_path / "whole", range(9)), *parts]


@pytest.fixture
def served(places: list[str], tmp_path: Path) -> Iterator[list[str]]:
    """The addresses of services of the first two parts; the last part stays a folder, without a snapshot."""
    with ExitStack() as stack:
        addresses = []
        for number, folder in enumerate(places[1:3]):
            settings = Settings(folder, token=TOKEN, state=tmp_path / f"state-{number}", shard=True)
            addresses.append(stack.enter_context(running(settings, Described())))
        shutil.rmtree(Path(places[3]) / "snapshot")
        yield [*addresses, places[3]]


def test_moments_and_rates_are_those_of_one_index(
    places: list[str], served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, together = Index(places[0], Described()), ShardedIndex(served, Described())
    for text in TEXTS:
        for narrowed in (None, Filter("/a"), Filter(one_per_video=True, dedupe=0.8)):
            one, several = (index.search(text, k=6, filter=narrowed, order="no") for index in (whole, together))
            assert there(several) == rows(one)
            assert several.evidence == one.evidence
            assert several.background is not None
            assert one.background is not None
            np.testing.assert_array_equal(several.background.maxima, one.background.maxima)
    vector = drawn("a picture")[0].numpy()
    assert there(together.search(vector, k=4)) == rows(whole.search(vector, k=4))
    assert there(together.highlights(k=5, skip_blank=False)) == rows(whole.highlights(k=5, skip_blank=False))
    assert together.unsearched == {}
    asked, ask = list[str](), service._ask
    with monkeypatch.context() as patch:
        patch.setattr(service, "FRESH", 60.0)
        patch.setattr(service, "_ask", lambda uri, path, *body: (asked.append(path), ask(uri, path, *body))[1])
        assert there(together.search(TEXTS[1], k=6, order="no")) == rows(whole.search(TEXTS[1], k=6, order="no"))
        assert set(asked) == {"/nearest"}  # the frames were sent before
    alone = Index(served[0], Described())
    found = alone.search(TEXTS[0], k=3)
    assert there(found) == rows(Index(places[1], Described()).search(TEXTS[0], k=3))
    assert all(moment.video.startswith(served[0]) for moment in found)
    with monkeypatch.context() as patch:
        patch.setattr(service, "MOST_CONTENTS", 1)  # more videos than one request names
        narrowed = Filter(["/a", f"{served[0]}b"])
        several = ShardedIndex(served, Described()).search(TEXTS[0], k=6, filter=narrowed)
    assert there(several) == rows(whole.search(TEXTS[0], k=6, filter=Filter(["/a", "/b/1.mp4"])))


def test_two_machines_may_have_different_files_by_one_path(
    places: list[str], tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    other = Store(make(tmp_path / "other", [8]))
    frames, record = film(7)
    other.append([record.content], [frames])
    other.commit([replace(record, path="/a/0.mp4")])
    with (
        running(Settings(places[1], token=TOKEN, state=tmp_path / "one", shard=True), Described()) as one,
        running(Settings(str(tmp_path / "other"), token=TOKEN, state=tmp_path / "two", shard=True), Described()) as two,
    ):
        together = ShardedIndex([one, two], Described())
        for text, address in (("something 0", one), ("something 7", two)):
            assert together.search(text, k=1)[0].video == named_by_machine(address, "/a/0.mp4")
            _, failures = export_clips(together.search(text, k=1), tmp_path / "clips")
            assert [cause for _, cause in failures] == [ELSEWHERE]
            MomentFiles(csv=tmp_path / "found.csv", edl=tmp_path / "found.edl").write(
                together.search(text, k=1), text, together
            )
            assert named_by_machine(address, "/a/0.mp4") in (tmp_path / "found.csv").read_text()
        below = together.videos(Filter("/a"))
        assert [video.path for video in below].count(named_by_machine(two, "/a/0.mp4")) == 1
        code, out, _ = call("list", "/a/0.mp4", "--index", two, "--json")
        assert code == 0
        (row,) = json.loads(out)["videos"]
        assert (row["path"], row["missing"]) == (named_by_machine(two, "/a/0.mp4"), False)


def test_a_change_of_the_index_is_seen_and_a_search_under_way_keeps_its_state(
    places: list[str], served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FRESH", 0.0)
    index = Index(served[0], Described())
    before, reader = rows(index.search(TEXTS[2], k=9)), index._reader()
    vector = unit(drawn("a")[0].numpy())
    assert index._reader() is reader
    record = add(places[1], 4)
    assert len(reader.nearest(vector, 3)[0]) == 3
    after = rows(index.search(TEXTS[2], k=9))
    assert [(on_its_machine(path), *row) for path, *row in after] == rows(
        Index(places[1], Described()).search(TEXTS[2], k=9)
    )
    name = named_by_machine(served[0], record.path)
    assert name in {row[0] for row in after} - {row[0] for row in before}
    tables = index._reader()  # of the tables, which have no snapshot now
    added = add(places[1], 5)
    assert added.content not in tables.nearest(vector, 1000)[0]
    assert len(tables.nearest(vector, 1000)[0]) == tables.count_frames()
    Store(places[1]).drop([record.path])
    with pytest.raises(MovaError, match="the index was changed since the search began"):
        tables.nearest(vector, 3)
    reader.state = "one that is long gone"
    with pytest.raises(MovaError, match="the index was changed since the search began"):
        reader.nearest(vector, 3)


def test_a_service_that_is_gone_refuses_or_offers_nothing_is_left_out(
    places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, gone = places[3], "http://127.0.0.1:9"
    with (
        running(Settings(places[1], token=TOKEN, state=tmp_path / "plain"), Described()) as plain,
        running(Settings(places[2], token=TOKEN, state=tmp_path / "shard", shard=True), Described()) as secret,
    ):
        monkeypatch.setenv("MOVA_TOKEN", "another one of enough letters")
        together = ShardedIndex([gone, secret, folder], Described())
        found = together.search(TEXTS[0], k=2)
        assert "cannot be reached" in found.unsearched[gone]
        assert "needs its token in MOVA_TOKEN" in found.unsearched[secret]
        assert rows(found) == rows(Index(folder, Described()).search(TEXTS[0], k=2))
        monkeypatch.setenv("MOVA_TOKEN", TOKEN)
        with pytest.raises(MovaError, match="does not offer its index"):
            Index(plain).search(TEXTS[0])
        with pytest.raises(UsageError, match="can only be searched"):
            Index(secret).remove("/a/4.mp4")
        with pytest.raises(UsageError, match="none of 1 indexes"):
            ShardedIndex([gone]).search(TEXTS[0])
        with pytest.raises(UsageError, match="is a service itself"):
            Settings(secret)
        index = Index(secret, Described())
        with pytest.raises(MovaError, match="the vector is not of unit length"):
            index._reader().nearest(np.ones(WIDTH, np.float32), 3)
        monkeypatch.setattr(service, "MOST_BYTES", 1000)
        with pytest.raises(MovaError, match="sends more than 0 MB at once"):
            Index(secret).search(TEXTS[0])
        monkeypatch.setenv("MOVA_TOKEN", "two\nlines of a secret")
        with pytest.raises(MovaError, match="has characters that no token has") as error:
            Index(secret).search(TEXTS[0])
        assert "secret" not in str(error.value)


def test_a_machine_is_known_by_its_name_if_the_service_was_told_it(place: Path, tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    headers = {"Authorization": f"Bearer {TOKEN}"}
    for public, status in (((), 421), (("http://one:8765",), 200)):
        settings = Settings(str(place / "index"), None, "0.0.0.0", token=TOKEN, state=tmp_path, shard=True)
        client = TestClient(build(replace(settings, public_urls=public), ColourEncoder()), base_url="http://one:8765")
        assert client.get("/api/v1/shard", headers=headers).status_code == status


def test_the_command_takes_an_address(
    places: list[str], served: list[str], call: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = call("list", "--index", served[0], "--json")
    assert code == 0, err
    assert out.count(f'"{served[0]}') >= 3
    code, out, err = call("status", "--index", served[0], "--json")
    assert code == 0, err
    status = json.loads(out)
    assert (status["videos"], status["missing"], status["bytes"]) == (3, [], None)
    code, _, err = call("index", places[0], "--index", served[0])
    assert code != 0
    assert "can only be searched" in err


def test_stretches_and_windows_arrive_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    windows = np.array([[0.0, 2.0], [2.0, 2.5], [2.5, 5.0]])
    stored = StoredFrames(windows[:, 0], vectors, windows).widened()
    for part in (stored, stored.sampled(Meta("m", "f", 8, 2.0, novelty=0.1))):
        back = unpacked_frames(packed_frames({"a": part, "b": part}), 8)
        for name in ("times", "vectors", "windows", "firsts"):
            ours, theirs = getattr(back["b"], name), getattr(part, name)
            assert (ours is None) == (theirs is None)
            if theirs is not None:
                np.testing.assert_array_equal(ours, theirs)
    assert unpacked_frames(packed_frames({}), 8) == {}
    for damaged in (b"", b"\x00" * 40, packed_frames({"a": stored})[:-4]):
        with pytest.raises((ValueError, KeyError)):
            unpacked_frames(damaged, 8)
    assert ServiceReader.mapped is False
