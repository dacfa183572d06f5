"""Files are written completely or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mova.utils.replacing import replacing


@pytest.mark.parametrize("name", ["影" * 80, "🎬" * 62])
def test_the_file_appears_at_the_end(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.html"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def fill(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), replacing(tmp_path / "page.html") as temporary:
        fill(temporary)
    assert list(tmp_path.iterdir()) == []


def test_links_stay_and_devices_are_written_directly(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with replacing(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    with replacing(os.devnull) as target:
        assert target == Path(os.devnull)
