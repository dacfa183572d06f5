"""Indexes of services searched as one with local ones: the moments and rates of one index that has all videos."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from mova.errors import MovaError, UsageError
from mova.search.index import Index
from mova.search.narrow.filter import Filter
from mova.search.shards import service
from mova.search.shards.index import ShardedIndex
from mova.search.shards.service import ServiceReader
from mova.search.shards.wire import packed_frames, unpacked_frames
from mova.search.storage.records import Meta, StoredFrames
from mova.search.storage.store import Store
from mova.serve.settings import Settings
from tests.search.shards.test_sharded_index import PARTS, TEXTS, Described, film, make, rows, unit
from tests.serve.conftest import running
from tests.support.known import drawn

TOKEN = "a token of more than 16 letters"


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
            assert rows(several) == rows(one)
            assert several.evidence == one.evidence
            assert several.background is not None
            assert one.background is not None
            np.testing.assert_array_equal(several.background.maxima, one.background.maxima)
    vector = drawn("a picture")[0].numpy()
    assert rows(together.search(vector, k=4)) == rows(whole.search(vector, k=4))
    assert rows(together.highlights(k=5, skip_blank=False)) == rows(whole.highlights(k=5, skip_blank=False))
    assert together.unsearched == {}
    asked, ask = list[str](), service._ask
    with monkeypatch.context() as patch:
        patch.setattr(service, "FRESH", 60.0)
        patch.setattr(service, "_ask", lambda uri, path, *body: (asked.append(path), ask(uri, path, *body))[1])
        assert rows(together.search(TEXTS[1], k=6, order="no")) == rows(whole.search(TEXTS[1], k=6, order="no"))
        assert set(asked) == {"/nearest"}  # the frames were sent before
    alone = Index(served[0], Described())
    assert rows(alone.search(TEXTS[0], k=3)) == rows(Index(places[1], Described()).search(TEXTS[0], k=3))


def test_a_change_of_the_index_is_seen_and_a_search_under_way_keeps_its_state(
    places: list[str], served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FRESH", 0.0)
    index = Index(served[0], Described())
    before, reader = rows(index.search(TEXTS[2], k=9)), index._reader()
    vector = unit(drawn("a")[0].numpy())
    assert index._reader() is reader
    frames, record = film(4)
    store = Store(places[1])
    store.append([record.content], [frames])
    store.commit([record])
    assert len(reader.nearest(vector, 3)[0]) == 3
    after = rows(index.search(TEXTS[2], k=9))
    assert after == rows(Index(places[1], Described()).search(TEXTS[2], k=9))
    assert record.path in {row[0] for row in after} - {row[0] for row in before}
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


def test_the_command_takes_an_address(
    places: list[str], served: list[str], call: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, err = call("list", "--index", served[0], "--json")
    assert code == 0, err
    assert out.count('"/') >= 3
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
