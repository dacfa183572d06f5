"""The drive of an index is removed in the middle of a run: the message never advises to delete a good index."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.errors import MovaError
from mova.search.index import Index
from mova.search.ingest import writer
from mova.search.storage.damage import IndexDamagedError, IndexVanishedError, index_errors
from tests.support.fakes import ColourEncoder, write_colours


def move_away(drive: Path) -> None:
    drive.rename(drive.with_name("away"))


def leave_an_empty_mount_point(drive: Path) -> None:
    move_away(drive)
    drive.mkdir()


def leave_an_empty_index(drive: Path) -> None:
    move_away(drive)
    (drive / "index").mkdir(parents=True)


@pytest.mark.parametrize("remove", [move_away, leave_an_empty_mount_point, leave_an_empty_index])
def test_a_drive_that_is_removed_in_the_middle_of_a_run(
    remove: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = [write_colours(tmp_path / "films" / f"{i}.mp4", [("red", 2 + i), ("blue", 2)]) for i in range(3)]
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 0.0)
    drive = tmp_path / "drive"
    Index(drive / "index", ColourEncoder()).add(films[:1])

    def lose(path: str, done: float, total: float) -> None:
        """Remove the drive while the first new file is read."""
        if not (tmp_path / "away").exists():
            remove(drive)

    with pytest.raises(IndexVanishedError, match="Is the drive mounted") as caught:
        Index(drive / "index", ColourEncoder()).add(films, progress=lose)
    assert "damaged" not in str(caught.value)
    assert "elete" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    if drive.exists():
        assert [path for path in drive.rglob("*") if path.is_file()] == []
        for folder in (drive / "index", drive):
            if folder.exists():
                folder.rmdir()
    (tmp_path / "away").rename(drive)
    index = Index(drive / "index", ColourEncoder())
    assert index.verify().problems == ()
    assert len(index.add(films).indexed) == 2


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_a_drive_that_does_not_answer_is_no_damage(code: int, tmp_path: Path) -> None:
    film = write_colours(tmp_path / "a.mp4", [("red", 2)])
    index = Index(tmp_path / "index", ColourEncoder())
    index.add(film)
    with pytest.raises(MovaError, match="does not answer") as caught, index_errors(str(tmp_path / "index")):
        raise OSError(code, os.strerror(code))
    assert not isinstance(caught.value, IndexDamagedError)
