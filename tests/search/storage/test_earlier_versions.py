"""Indexes that earlier versions wrote are read, searched and added to.

The archives in `earlier/` are of `/srv/films`, with the two Worlds of seed 1 (flat, 10 s, 48 pixels, 4 frames per
second) and `mova-worlds-tiny`. Files that are made again when they are missing (text tower, false alarms) were left
out. Keep one archive of every version that changes the layout.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mova
from mova.search.index import Index
from mova.search.storage.store import Store
from mova.worlds.writer import write_worlds

EARLIER = Path(__file__).parent / "earlier"
VERSIONS = sorted(path.name for path in EARLIER.glob("*.tar.gz"))


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An index that an earlier version wrote."""
    with tarfile.open(EARLIER / request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    yield tmp_path / "index"
    shutil.rmtree(tmp_path / "index")


def test_it_is_sound_and_has_its_frames(folder: Path) -> None:
    index = Index(folder)
    result = index.verify()
    assert (list(result.problems), result.videos, result.frames) == ([], 2, 40)
    assert [record.path for record in index.videos()] == [f"/srv/films/world-flat-1-0000{i}.mp4" for i in (0, 1)]
    for stored in Store(folder).fetch([record.content for record in index.videos()]).values():
        assert stored.times.tolist() == [0.5 * i for i in range(20)]
        np.testing.assert_allclose(np.linalg.norm(stored.vectors, axis=1), 1, atol=1e-3)


def test_a_vector_finds_the_frame_that_it_is_of(folder: Path) -> None:
    record = Index(folder).videos()[1]
    stored = Store(folder).fetch([record.content])[record.content]
    best = Index(folder).search(np.asarray(stored.vectors[12], np.float32), k=1)[0]
    assert best.video == "/srv/films/world-flat-1-00001.mp4"
    assert best.start <= stored.times[12] <= best.end
    assert best.score == pytest.approx(1, abs=1e-2)


def test_words_find_what_they_found_then_and_videos_are_added(folder: Path, tmp_path: Path) -> None:
    if mova.load("mova-worlds-tiny").fingerprint() != Index(folder).meta.fingerprint:
        pytest.skip("mova-worlds-tiny has other weights than then; the index is refused with a message")
    best = Index(folder).search("Two black discs shrink.", k=1)[0]
    assert (best.video, best.start, best.end) == ("/srv/films/world-flat-1-00000.mp4", 2.5, 6.5)
    assert best.score == pytest.approx(0.7307, abs=1e-3)
    films = write_worlds(tmp_path / "films", 1, 10, "flat", seed=2, size=48, fps=4.0).parent
    report = Index(folder).add(films)
    assert len(report.indexed) == 1
    assert not Index(folder).verify().problems
    assert {Path(record.path).parent for record in Index(folder).videos()} == {Path("/srv/films"), films}
    again = Index(folder).search("Two black discs shrink.", k=1)[0]
    assert (again.video, again.start, again.end) == (best.video, best.start, best.end)
