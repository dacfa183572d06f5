"""Finding video files in folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mova.errors import UsageError, VideoError
from mova.utils.files import find_videos
from mova.video.probe import probe


def test_find_videos_does_not_skip_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "films"
    (inside / "closed").mkdir(parents=True)
    (inside / "one.mp4").touch()
    (inside / "broken.mp4").symlink_to(tmp_path / "nowhere")
    (inside / "again").symlink_to(inside)  # a cycle
    (inside / "folder.mp4").mkdir()
    os.mkfifo(inside / "pipe.mp4")
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert find_videos([inside]) == [inside / "broken.mp4", inside / "closed", inside / "one.mp4"]
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(VideoError, match="cannot list this folder"):
        probe(inside / "closed")
    with pytest.raises(VideoError, match="a broken link"):
        probe(inside / "broken.mp4")


def test_find_videos(tmp_path: Path) -> None:
    (tmp_path / "b" / ".hidden").mkdir(parents=True)
    for name in ("b/two.MKV", "b/one.mp4", "b/.three.mp4", "b/.hidden/four.mp4", "b/readme.txt", "given.dat"):
        (tmp_path / name).touch()
    result = find_videos([tmp_path / "given.dat", str(tmp_path / "b"), tmp_path / "b" / "one.mp4"])
    assert result == [tmp_path / "b" / "one.mp4", tmp_path / "b" / "two.MKV", tmp_path / "given.dat"]
    with pytest.raises(UsageError, match="no such"):
        find_videos([tmp_path / "nowhere"])
