"""An index with a novelty: fewer rows, the answers of one that stores every frame, in tables and snapshot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import lancedb
import numpy as np
import pytest

import mova
from mova.errors import IndexMismatchError, UsageError
from mova.scoring.windows.stretches import score_bound
from mova.search.align import align
from mova.search.clip_retrieval import export_vectors
from mova.search.cold.snapshot import Snapshot
from mova.search.index import Index
from mova.search.ingest.cluster import Arrivals
from mova.search.ingest.file_reader import FileTask
from mova.search.ingest.plan import make_plan
from mova.search.ingest.stages import EncodeWindow, Settings, decode_file, pack, unpack
from mova.search.ingest.writer import IndexWriter
from mova.search.storage.damage import IndexDamagedError
from mova.search.storage.records import StoredFrames
from mova.search.storage.store import Store
from mova.types import Frames, Moment
from mova.video.isolated import Isolated
from mova.worlds.writer import write_worlds
from tests.support.fakes import ColourEncoder, ColourWindows, write_colours

PARTS = [("red", 6.0), ("green", 5.0), ("blue", 6.0), ("red", 3.0)]
MODEL = "mova-worlds-tiny"
NOVELTY = 0.05


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("films") / "a.mp4", PARTS)


@pytest.fixture
def pair(film: Path, tmp_path: Path) -> tuple[Index, Index]:
    """An index with a novelty, and one of every frame."""
    few, all_frames = Index(tmp_path / "few", ColourEncoder()), Index(tmp_path / "all", ColourEncoder())
    few.add([film], novelty=NOVELTY)
    all_frames.add([film])
    return few, all_frames


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Index, Index]:
    """Both kinds of index of the same Worlds."""
    folder = tmp_path_factory.mktemp("worlds")
    write_worlds(folder / "films", 4, 12, "flat", 91, size=64)
    few, all_frames = Index(folder / "few", MODEL), Index(folder / "all", MODEL)
    few.add(folder / "films", novelty=NOVELTY)
    all_frames.add(folder / "films")
    return few, all_frames


def stored(index: Index) -> StoredFrames:
    store = Store(index._store.uri)
    (record,) = store.records().values()
    return store.fetch([record.content])[record.content]


def places(moments: list[Moment]) -> list[tuple[str, float, float]]:
    return [(moment.video, moment.start, moment.end) for moment in moments]


def test_a_row_is_a_stretch_and_is_read_as_its_frames(pair: tuple[Index, Index], tmp_path: Path) -> None:
    few, all_frames = pair
    table = lancedb.connect(tmp_path / "few").open_table("frames").to_arrow().sort_by("start")
    rows = np.stack([table["start"], table["end"]], axis=1).tolist()
    assert rows == [[0.0, 6.0], [6.0, 11.0], [11.0, 17.0], [17.0, 20.0]]
    assert few.videos()[0].frames == 4
    here, there = stored(few), stored(all_frames)
    assert here.stored_rows == 4
    assert here.windows is None
    np.testing.assert_array_equal(here.times, there.times)
    np.testing.assert_allclose(here.vectors, there.vectors, atol=2e-2)
    np.testing.assert_allclose(few.videos()[0].mean, all_frames.videos()[0].mean, atol=1e-6)
    assert json.loads(lancedb.connect(tmp_path / "few").open_table("frames").schema.metadata[b"mova"])["schema"] == 2


def test_the_snapshot_has_what_the_tables_have(pair: tuple[Index, Index], tmp_path: Path) -> None:
    few, _ = pair
    cold = Snapshot.open(tmp_path / "few")
    assert cold is not None
    (content,) = {record.content for record in cold.records().values()}
    there, here = cold.fetch([content])[content], stored(few)
    assert np.array_equal(there.times, here.times)
    assert np.array_equal(there.vectors, here.vectors)
    assert there.stored_rows == here.stored_rows
    assert cold.meta == Store(tmp_path / "few").meta
    assert cold.count_frames() == 4
    assert few.verify().problems == ()
    assert few.verify().frames == 4


def test_answers_have_the_times_of_an_index_of_every_frame(pair: tuple[Index, Index], film: Path) -> None:
    few, all_frames = pair
    for text in ("red", "green", "blue", "It is red. It is blue."):
        assert places(few.search(text, k=3)) == places(all_frames.search(text, k=3)), text
        ours, theirs = (align(ColourEncoder(), film, text, index=index) for index in pair)
        for here, there in zip(ours.sentences, theirs.sentences, strict=True):
            np.testing.assert_allclose(here.relevance, there.relevance, atol=2e-2)
            assert [scored.span for scored in here.spans] == [scored.span for scored in there.spans]
    like = [index.search_like(f"{film}@7") for index in pair]
    assert places(like[0]) == places(like[1])
    by = [index.search_like(f"{film}@7", by="red, green, blue") for index in pair]
    assert places(by[0]) == places(by[1])
    high = [index.highlights(k=2, skip_blank=False) for index in pair]
    assert places(high[0]) == places(high[1])
    dense = [index.stored(film) for index in pair]
    assert dense[0] is not None
    assert dense[1] is not None
    assert dense[0].step == dense[1].step == 0.25


def test_no_score_differs_by_more_than_the_bound(worlds: tuple[Index, Index]) -> None:
    few, all_frames = worlds
    assert few.status().frames < 0.6 * all_frames.status().frames
    queries = few.model.encode_text(["A red disc grows.", "A small orange crescent bounces."]).unit_vectors()
    for record in all_frames.videos():
        ours, theirs = few.stored(record.path), all_frames.stored(record.path)
        assert ours is not None
        assert theirs is not None
        np.testing.assert_array_equal(ours.times, theirs.times)
        apart = np.linalg.norm(ours.frames.numpy() - theirs.frames.numpy(), axis=1)
        assert apart.max() <= score_bound(NOVELTY) + 2**-10  # the other index has rounded vectors, too
        difference = queries @ (ours.frames - theirs.frames).numpy().T
        assert np.abs(difference).max() <= score_bound(NOVELTY) + 2**-10


def test_a_cluster_stores_the_same_rows(worlds: tuple[Index, Index], tmp_path: Path) -> None:
    few, _ = worlds
    model, store = few.model, Store(tmp_path / "index")
    files = [record.path for record in few.videos()]
    plan = make_plan(store, files, lambda: model, novelty=NOVELTY)
    store.create(plan.meta)
    writer = IndexWriter(store, plan, None)
    arrivals, exact = Arrivals(writer), plan.meta.sampling == "exact"
    known: frozenset[str] = frozenset()
    settings = Settings(MODEL, model.fingerprint(), model.frame_rate, model.context, exact, 60.0, known, shots=True)
    encode = EncodeWindow(settings)
    for file in files:
        status = Path(file).stat()
        task = FileTask(file, status.st_size, status.st_mtime_ns)
        for message in reversed([unpack(encode(row)) for row in decode_file(pack(task), settings)]):
            arrivals.take(message)
    writer.flush()
    for path, record in store.records().items():
        expected = few._store.records()[path]
        assert record.frames == expected.frames
        ours, theirs = (side.fetch([record.content])[record.content] for side in (store, few._store))
        np.testing.assert_array_equal(ours.times, theirs.times)
        np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=2e-3)


def test_missing_frames_are_the_same_gaps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = Isolated.stream

    def stream(self: Isolated, *args: object, **options: object) -> object:
        for frames in real(self, *args, **options):  # type: ignore[arg-type]
            seen = (frames.pts < 4) | (frames.pts >= 9)
            yield Frames(frames.pixels[seen], frames.pts[seen])

    monkeypatch.setattr(Isolated, "stream", stream)
    film = write_colours(tmp_path / "a.mp4", [("red", 14.0)])
    indexes = [Index(tmp_path / name, ColourEncoder()) for name in ("few", "all")]
    for index, novelty in zip(indexes, (NOVELTY, None), strict=True):
        index.add([film], novelty=novelty)
    few, all_frames = indexes
    assert few.videos()[0].gaps == all_frames.videos()[0].gaps != ()
    assert few.videos()[0].frames == 2
    assert places(few.search("red")) == places(all_frames.search("red")) == [(str(film), 0, 4), (str(film), 9, 14)]


def test_a_cut_between_similar_vectors_begins_a_row(tmp_path: Path) -> None:
    """Colors that the model does not tell apart: one shot for its vectors, two for the eye."""

    class Blind(ColourEncoder):
        def encode_frames(self, frames: Frames) -> object:  # type: ignore[override]
            return self._wide(np.ones((len(frames), 8), np.float32))

    film = write_colours(tmp_path / "a.mp4", [("red", 3.0), ("blue", 3.0)])
    index = Index(tmp_path / "index", Blind())
    index.add([film], novelty=NOVELTY)
    assert index.videos()[0].frames == 2


def test_later_runs_keep_the_novelty_and_refuse_another(film: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", ColourEncoder())
    report = index.add([film], novelty=NOVELTY)
    assert (report.frames, report.stored) == (80, 4)
    second = write_colours(tmp_path / "b.mp4", [("red", 4.0)])
    assert index.add([second]).stored == 1
    assert index.add([second], novelty=NOVELTY).unchanged == [str(second)]
    for other in (0.1, 0.0):
        with pytest.raises(IndexMismatchError, match=f"novelty 0.05, not {other}"):
            index.add([second], novelty=other)
    assert index.update().indexed == []
    plain = Index(tmp_path / "plain", ColourEncoder())
    plain.add([film])
    with pytest.raises(IndexMismatchError, match=r"novelty 0\.0, not 0\.05"):
        plain.add([film], novelty=NOVELTY)


def test_a_novelty_that_is_not_possible_is_refused(film: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sees several frames at once"):
        Index(tmp_path / "index", ColourWindows()).add([film], novelty=NOVELTY)
    with pytest.raises(UsageError, match="above 0 and below 1, not 2"):
        Index(tmp_path / "index", ColourEncoder()).add([film], novelty=2.0)
    assert not (tmp_path / "index").exists()


def test_bounds_that_are_not_possible_are_damage(pair: tuple[Index, Index], tmp_path: Path) -> None:
    few, _ = pair
    lancedb.connect(tmp_path / "few").open_table("frames").update(where="time = 6", values={"end": 1e12})
    few._store.seal()
    store = Store(tmp_path / "few")
    (content,) = {record.content for record in store.records().values()}
    with pytest.raises(IndexDamagedError, match="not possible"):
        store.fetch([content])
    assert any("not possible" in problem for problem in Index(tmp_path / "few").verify().problems)


def test_exported_vectors_are_the_stored_ones(pair: tuple[Index, Index], tmp_path: Path) -> None:
    few, _ = pair
    assert export_vectors(few, tmp_path / "vectors").rows == 4
    assert np.load(tmp_path / "vectors" / "img_emb" / "img_emb_0.npy").shape == (4, 8)
    assert json.loads((tmp_path / "vectors" / "mova.json").read_text())["novelty"] == NOVELTY


def test_the_commands_say_what_is_stored(
    worlds: tuple[Index, Index], tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    films, place = Path(worlds[0].videos()[0].path).parent, ("--index", tmp_path / "films.mova")
    code, _, err = call("index", films, *place, "--model", MODEL, "--novelty", 3)
    assert code == 2
    assert "above 0 and below 1" in err
    code, out, err = call("index", films, *place, "--model", MODEL, "--novelty", NOVELTY, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert 0 < report["stored"] < 0.6 * report["frames"]
    code, out, _ = call("status", *place)
    assert "stretches of frames within a cosine distance of 0.05" in out
    assert f"{report['stored']} vectors" in out
    code, out, err = call("search", "A small orange crescent bounces.", *place, "--json")
    assert code == 0, err
    found = json.loads(out)["results"][0]
    curve = mova.load(MODEL).encode_video(found["video"])
    assert any(abs(found["start"] - time) < 1e-9 for time in curve.times)
