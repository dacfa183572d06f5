"""Windows of several frames in an index: stored with their times, found, aligned and scored, in tables and snapshot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import lancedb
import numpy as np
import pytest
import torch

import mova
from mova.errors import IndexMismatchError, UsageError
from mova.search.align import align
from mova.search.cold.snapshot import Snapshot
from mova.search.index import Index
from mova.search.storage.records import StoredFrames
from mova.search.storage.store import Store
from mova.types import Frames, Span
from mova.video.isolated import Isolated
from tests.support.fakes import ColourEncoder, ColourWindows, write_colours

PARTS = [("red", 6.0), ("green", 5.0), ("blue", 6.0)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colours(tmp_path_factory.mktemp("films") / "a.mp4", PARTS)


@pytest.fixture
def index(film: Path, tmp_path: Path) -> Index:
    made = Index(tmp_path / "index", ColourWindows())
    made.add([film])
    return made


def stored(index: Index) -> StoredFrames:
    store = Store(index._store.uri)
    (record,) = store.records().values()
    return store.fetch([record.content])[record.content]


def test_rows_have_the_true_start_and_end_of_their_windows(index: Index, film: Path, tmp_path: Path) -> None:
    expected = [[k, k + 2] for k in range(16)]
    table = lancedb.connect(tmp_path / "index").open_table("frames").to_arrow().sort_by("start")
    assert np.stack([table["start"], table["end"]], axis=1).tolist() == expected
    frames = stored(index)
    assert frames.windows is not None
    assert frames.windows.tolist() == expected
    assert frames.times.tolist() == [0.0, *(k + 0.5 for k in range(1, 16))]
    fresh = ColourWindows().encode_video(film)
    assert fresh.windows is not None
    assert fresh.windows.tolist() == expected
    unit = torch.nn.functional.normalize(fresh.frames, dim=1).numpy()
    np.testing.assert_allclose(frames.vectors, unit, atol=1e-3)


def test_the_snapshot_has_what_the_tables_have(index: Index, tmp_path: Path) -> None:
    cold = Snapshot.open(tmp_path / "index")
    assert cold is not None
    (content,) = {record.content for record in cold.records().values()}
    there, here = cold.fetch([content])[content], stored(index)
    assert there.windows is not None
    assert np.array_equal(there.windows, here.windows)
    assert np.array_equal(there.times, here.times)
    assert np.array_equal(there.vectors, here.vectors)
    assert cold.meta == Store(tmp_path / "index").meta
    assert index.verify().problems == ()


def test_moments_have_the_bounds_of_the_event_to_a_stride(index: Index) -> None:
    for name, start, end in (("red", 0.0, 6.0), ("green", 6.0, 11.0), ("blue", 11.0, 17.0)):
        moment = index.search(name, k=1)[0]
        assert abs(moment.start - start) <= 0.5
        assert abs(moment.end - end) <= 0.5
        assert moment.score == pytest.approx(1.0, abs=2e-3)


def test_stored_windows_are_aligned_and_scored_as_the_file_is(index: Index, film: Path) -> None:
    model = ColourWindows()
    caption = "It is red. It is blue."
    again, fresh = align(model, film, caption, index=index), align(model, film, caption)
    for here, there in zip(again.sentences, fresh.sentences, strict=True):
        np.testing.assert_allclose(here.relevance, there.relevance, atol=2e-3)
        assert [scored.span for scored in here.spans] == [scored.span for scored in there.spans]
    for row, (start, end) in zip(again.sentences, ((0.0, 6.0), (11.0, 17.0)), strict=True):
        (scored,) = row.spans
        assert abs(scored.span.start - start) <= 1.0
        assert abs(scored.span.end - end) <= 1.0
    from_index = index.stored(film)
    assert from_index is not None
    assert from_index.step == 1.5
    right, wrong = model.score(from_index, ["It is red. It is blue.", "It is cyan. It is white."])
    assert right > wrong


def test_a_video_shorter_than_a_window_is_one_moment(tmp_path: Path) -> None:
    film = write_colours(tmp_path / "short.mp4", [("red", 1.5)])
    index = Index(tmp_path / "index", ColourWindows(frames=16, stride=4))
    index.add([film])
    assert stored(index).windows.tolist() == [[0.0, 1.5]]  # type: ignore[union-attr]
    assert [(m.start, m.end) for m in index.search("red")] == [(0.0, 1.5)]


@pytest.fixture
def holed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file loses the samples from 4 to 9 s."""
    real = Isolated.stream

    def stream(self: Isolated, *args: object, **options: object) -> object:
        for frames in real(self, *args, **options):  # type: ignore[arg-type]
            seen = (frames.pts < 4) | (frames.pts >= 9)
            yield Frames(frames.pixels[seen], frames.pts[seen])

    monkeypatch.setattr(Isolated, "stream", stream)


def test_no_window_and_no_moment_bridges_missing_frames(holed: None, tmp_path: Path) -> None:
    film = write_colours(tmp_path / "a.mp4", [("red", 14.0)])
    index = Index(tmp_path / "index", ColourWindows())
    index.add([film])
    windows = stored(index).windows
    assert windows is not None
    assert not np.any((windows[:, 0] < 9) & (windows[:, 1] > 4))
    assert windows[:, 1].max() == 14.0
    assert index.videos()[0].gaps == (Span(4.0, 9.0),)
    assert [(m.start, m.end) for m in index.search("red")] == [(0.0, 4.0), (9.0, 14.0)]


def test_another_window_or_stride_is_refused(index: Index, film: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexMismatchError, match="frames per window 8, not 4"):
        Index(tmp_path / "index", ColourWindows(frames=4, stride=4)).add([film])
    with pytest.raises(IndexMismatchError, match="stride in frames 4, not 2"):
        index.add([film], stride=0.5)
    assert index.add([film], stride=1.0).unchanged == [str(film)]


def test_more_files_get_the_stride_of_the_index(film: Path, tmp_path: Path) -> None:
    index = Index(tmp_path / "index", ColourWindows())
    index.add([film], stride=0.5)
    assert np.diff(stored(index).windows[:, 0]).tolist() == [0.5] * 30  # type: ignore[index]
    second = write_colours(tmp_path / "b.mp4", [("red", 4.0)])
    assert Index(tmp_path / "index", ColourWindows(stride=8)).add([second]).frames == 5


@pytest.mark.parametrize(
    ("model", "stride", "message"),
    [
        (ColourEncoder(), 1.0, "encodes single frames, which have no stride"),
        (ColourWindows(), 0.01, "at least one sampling step of 0.25 s"),
        (ColourWindows(), float("nan"), "at least one sampling step"),
        (ColourWindows(), 2.5, "need a stride from 1 to 8 frames, not 10"),
    ],
    ids=["single frames", "too short", "not a number", "too long"],
)
def test_a_stride_that_is_not_possible_is_refused(
    model: ColourEncoder, stride: float, message: str, film: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        Index(tmp_path / "index", model).add([film], stride=stride)
    assert not (tmp_path / "index").exists()


def test_an_index_of_pictures_has_the_layout_it_always_had(film: Path, tmp_path: Path) -> None:
    Index(tmp_path / "index", ColourEncoder()).add([film])
    table = lancedb.connect(tmp_path / "index").open_table("frames")
    assert table.schema.names == ["video", "time", "vector"]
    written = json.loads(table.schema.metadata[b"mova"])
    assert written.keys() == {"model", "fingerprint", "dim", "frame_rate", "schema", "sampling"}
    assert written["schema"] == 1


def test_the_commands_work_with_x_clip(
    film: Path, tiny_x_clip: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    place = ("--index", tmp_path / "films.mova")
    code, out, err = call("index", film, *place, "--model", tiny_x_clip, "--json")
    assert code == 0, err
    assert json.loads(out)["frames"] == 8
    code, out, _ = call("status", *place)
    assert "windows of 4 s every 2 s" in out
    assert "8 windows" in out
    found = []
    for _ in range(2):  # the second search uses what the first one left for it
        code, out, err = call("search", "a red square", *place, "--json")
        assert code == 0, err
        found.append(json.loads(out)["results"])
    assert found[0] == found[1]
    model = mova.load(str(tiny_x_clip))
    video = model.encode_video(film)
    curve = model.relevance(model.encode_text("a red square"), video)[0]
    assert found[0][0]["score"] == pytest.approx(float(curve.max()), abs=2e-3)
    best = int(curve.argmax())
    assert found[0][0]["start"] <= video.times[best] < found[0][0]["end"]
    text = "A man opens a door. Then he pours tea."
    code, out, err = call("align", film, "--text", text, *place, "--model", tiny_x_clip, "--json")
    assert code == 0, err
    aligned = json.loads(out)
    assert aligned["times"] == video.times.round(3).tolist()
    assert len(aligned["sentences"]) == 2
    code, out, err = call("score", film, text, "--model", tiny_x_clip, "--json")
    assert code == 0, err
    expected = model.relevance(model.encode_text(["A man opens a door.", "Then he pours tea."]), video).max(dim=1)
    scores = [row["score"] for row in json.loads(out)["sentences"]]
    np.testing.assert_allclose(scores, expected.values.numpy(), atol=1e-4)
