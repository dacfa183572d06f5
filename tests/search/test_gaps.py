"""Gaps: recorded in an index, and no moment, span or score bridges one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from mova.data.concat import VideoConcat
from mova.data.manifest import Segment
from mova.scoring.alignment import align_curves
from mova.search import query
from mova.search.align import align
from mova.search.index import Index
from mova.search.query import Query
from mova.search.storage import arrow_rows
from mova.search.storage.records import Meta, StoredFrames, VideoRecord
from mova.search.storage.store import Store
from mova.types import Frames, Span
from mova.video.isolated import Isolated
from tests.support.fakes import ColourEncoder, write_colours

SEEN = np.concatenate([np.arange(8), np.arange(20, 28)]) / 2  # 0 to 4 s and 10 to 14 s


def with_a_gap(folder: Path) -> Store:
    """A store with one video that shows axis 0 from 2 s to 12 s, but has no frames from 4 s to 10 s."""
    store = Store(folder)
    store.create(Meta("m", "f", 4, 2.0))
    vectors = np.eye(4, dtype=np.float32)[np.where((SEEN >= 2) & (SEEN < 12), 0, 1)]
    store.append(["c" * 32], [StoredFrames(SEEN, vectors)])
    mean = vectors.mean(axis=0)
    store.commit([VideoRecord("/v/c.mp4", "c" * 32, 1, 1, 14.0, len(SEEN), mean, (Span(4.0, 10.0),))])
    return store


def test_no_moment_bridges_a_gap(tmp_path: Path) -> None:
    store = with_a_gap(tmp_path / "index")
    assert store.records()["/v/c.mp4"].gaps == (Span(4.0, 10.0),)
    axis = np.eye(4, dtype=np.float32)
    one = query.search(store, Query("x", ("x",), axis[:1], "none"), 5)
    assert [(m.start, m.end) for m in one] == [(2.0, 4.0), (10.0, 12.0)]
    both = query.search(store, Query("x y", ("x", "y"), axis[:2], "none"), 5)
    assert sorted((m.start, m.end) for m in both) == [(0.0, 4.0), (10.0, 14.0)]


def test_no_aligned_span_bridges_a_gap_which_is_not_irrelevant_either() -> None:
    frames = torch.eye(4)[torch.from_numpy(np.where((SEEN >= 2) & (SEEN < 12), 0, 1))]
    result = align_curves(torch.eye(4)[:1], frames, SEEN, 14.0, 0.5, 0.5)
    assert [scored.span for scored in result.spans[0]] == [Span(2.0, 4.0), Span(10.0, 12.0)]
    assert result.irrelevant == (Span(0.0, 2.0), Span(12.0, 14.0))


@pytest.fixture
def holed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file loses the samples from 1 to 3 s."""
    real = Isolated.stream

    def stream(self: Isolated, path: str, **options: object):
        for chunk in real(self, path, **options):
            keep = (chunk.pts < 1) | (chunk.pts >= 3)
            if keep.any():
                yield Frames(chunk.pixels[keep], chunk.pts[keep])

    monkeypatch.setattr(Isolated, "stream", stream)


@pytest.mark.usefixtures("holed")
def test_missing_samples_are_recorded_as_a_gap(tmp_path: Path) -> None:
    film = write_colours(tmp_path / "a.mp4", [("red", 5)])
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([film])
    (video,) = Index(tmp_path / "index").videos()
    assert video.gaps == (Span(1.0, 3.0),)
    moments = index.search("red", k=3)
    assert [(m.start, round(m.end, 3)) for m in moments] == [(0.0, 1.0), (3.0, 5.0)]
    (row,) = align(ColourEncoder(), film, "It is red.", index=index).sentences
    assert [(s.span.start, round(s.span.end, 3)) for s in row.spans] == [(0.0, 1.0), (3.0, 5.0)]


def test_an_index_made_before_gaps_were_recorded_opens_and_can_be_added_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_colours(tmp_path / "a.mp4", [("red", 2)])
    new_schemas = arrow_rows.schemas

    def old_schemas(meta: Meta) -> dict[str, pa.Schema]:
        layouts = new_schemas(meta)
        layouts["videos"] = layouts["videos"].remove(layouts["videos"].get_field_index("gaps"))
        return layouts

    store = Store(tmp_path / "index")
    with monkeypatch.context() as patch:
        patch.setattr("mova.search.storage.tables.schemas", old_schemas)
        patch.setattr(Store, "commit", _old_commit)
        Index(tmp_path / "index", ColourEncoder()).add([film])
    assert "gaps" not in store._videos.schema.names
    index = Index(tmp_path / "index", ColourEncoder())
    assert [video.gaps for video in index.videos()] == [()]
    assert len(index.search("red", k=1)) == 1
    assert index.add([film]).unchanged == [str(film)]
    assert "gaps" not in Store(tmp_path / "index")._videos.schema.names  # nothing was written
    other = write_colours(tmp_path / "b.mp4", [("blue", 2)])
    assert index.add([film, other]).indexed == [str(other)]
    assert "gaps" in Store(tmp_path / "index")._videos.schema.names
    assert [video.path for video in Index(tmp_path / "index").videos()] == [str(film), str(other)]
    assert {m.video for m in index.search("blue", k=2)} >= {str(other)}


def _old_commit(store: Store, rows: list[VideoRecord]) -> None:
    store._videos.add(arrow_rows.records_table(rows, store._videos.schema))


def test_the_step_is_known_for_files_and_segments_but_not_for_frames(tmp_path: Path) -> None:
    film = write_colours(tmp_path / "a.mp4", [("red", 2), ("blue", 2)])
    model = ColourEncoder()
    parts = VideoConcat.of([Segment("a.mp4", 0.0, 1.0), Segment("a.mp4", 2.0, 4.0)], tmp_path)
    for video in (film, parts):
        assert model.encode_video(video, fps=4.0).step == 0.25
    timeline = model.align(film, "It is red.", fps=4.0)
    assert timeline.step == 0.25
    assert "step" not in timeline.to_json()
    assert model.encode_video(Frames(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2.0))).step is None
