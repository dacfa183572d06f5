"""Finding video files in folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mova.errors import UsageError, VideoError
from mova.utils.files import expand_patterns, find_videos
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


def test_patterns_stand_for_what_fits_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a.mp4", "b.mkv", "deep/er/c.mp4", ".hidden/d.mp4", "odd[1]*.mp4")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert expand_patterns(["*.mp4"]) == [Path("a.mp4"), Path("odd[1]*.mp4")]
    assert expand_patterns([tmp_path / "?.m*"]) == [tmp_path / "a.mp4", tmp_path / "b.mkv"]
    assert expand_patterns(["**/c.mp4"]) == [Path("deep/er/c.mp4")]
    assert expand_patterns(["odd[1]*.mp4", "s3://films/*.mp4", "a.mp4"]) == ["odd[1]*.mp4", "s3://films/*.mp4", "a.mp4"]
    with pytest.raises(UsageError, match="no file or folder fits this pattern"):
        expand_patterns(["*.avi"])
    with pytest.raises(UsageError, match="is not a pattern"):
        expand_patterns(["a**/b"])
