"""No space left while indexing or exporting: one message, a sound index, and no partial file. A limit on file sizes
stands for the full disk: writing fails in the same places."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mova.errors import MovaError
from mova.models import registry
from mova.search.index import Index
from mova.search.ingest import writer
from mova.search.storage import checksums
from mova.video.writer import write_mp4
from tests.support.fakes import ColourEncoder, write_colours

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE of Linux")

resource = pytest.importorskip("resource")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def limited(call: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs `mova WORDS...` in this process while no file can be larger than `most` bytes."""

    def run(most: int, *words: object) -> tuple[int, str, str]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        with monkeypatch.context() as patch:
            patch.setattr(registry, "load", lambda name: ColourEncoder(width=512))
            patch.setattr(writer, "FLUSH_ROWS", 24)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
            try:
                return call(*words)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return run


def test_a_full_disk_while_indexing_leaves_a_sound_index_that_resumes(tmp_path: Path, limited: Call) -> None:
    for i in range(3):
        write_colours(tmp_path / "films" / f"{i}.mp4", [("red", 2 + i), ("blue", 2)])
    code, _, err = limited(12_000, "index", tmp_path / "films", "--index", tmp_path / "index")
    assert code == 1
    assert "too large" in err
    assert err.count("the same command again") == 1
    assert "damaged" not in err
    index = Index(tmp_path / "index", ColourEncoder(width=512))
    assert not index.verify().problems
    index.add([tmp_path / "films"])
    assert len(index) == 3
    assert sum(video.frames for video in index.videos()) == 4 * (4 + 5 + 6)
    result = index.verify()
    assert (result.problems, result.notes) == ((), ())


def test_no_space_for_checksums_leaves_the_last_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = write_colours(tmp_path / "films" / "a.mp4", [("red", 2)]).parent
    index = Index(tmp_path / "index", ColourEncoder())
    index.add([films])
    before = checksums.read(tmp_path / "index")
    write_colours(films / "b.mp4", [("blue", 2)])

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr("mova.search.storage.checksums.os.fsync", full)
        with pytest.raises(MovaError, match="free some space") as caught:
            index.add([films])
    assert "damaged" not in str(caught.value)
    assert checksums.read(tmp_path / "index") == before
    assert not [path for path in (tmp_path / "index").iterdir() if path.name.endswith(".part")]
    assert not index.verify().problems
    index.add([films])
    assert len(index) == 2
    assert index.verify().notes == ()


def test_a_full_disk_while_exporting_leaves_no_partial_clip(tmp_path: Path, limited: Call) -> None:
    rng = np.random.default_rng(0)
    film = tmp_path / "noise.mp4"
    write_mp4(film, [rng.integers(0, 255, (32, 96, 128, 3), dtype=np.uint8)], fps=8.0)
    Index(tmp_path / "index", ColourEncoder(width=512)).add([film])
    out = tmp_path / "out"
    code, _, err = limited(4000, "search", "red", "--index", tmp_path / "index", "--export", out)
    assert code == 1
    assert "not exported" in err
    assert "cannot be written" in err
    assert list(out.iterdir()) == []
