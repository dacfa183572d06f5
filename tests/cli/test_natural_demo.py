"""The demo on natural pictures: a film of photographs (with the extra `demo`), and a folder of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mova.cli.commands import natural_demo
from mova.errors import UsageError
from mova.models.natural.weights import is_installed


def test_without_the_photographs_the_film_is_left_out_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(natural_demo, "find_spec", lambda name: None)
    assert natural_demo.film_demo(tmp_path) is None
    assert "mova[natural]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(
    not is_installed() or natural_demo.photographs() is None, reason="the extra `demo` is not installed"
)
def test_most_photographs_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = natural_demo.film_demo(tmp_path)
    assert document is not None
    assert json.loads(json.dumps(document)) == document
    searches = document["searches"]
    assert [row["truth"] for row in searches] == [[4.0 * i, 4.0 * i + 4] for i in range(len(searches))]
    assert sum(row["first_is_right"] for row in searches) >= len(searches) / 2
    assert all(Path(picture).stat().st_size > 10_000 for picture in document["pictures"])
    natural_demo.print_film(document)
    assert "a cup of coffee" in capsys.readouterr().out


def test_a_folder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], worlds_manifest: Path
) -> None:
    monkeypatch.setattr(natural_demo, "MODEL", "mova-worlds-tiny")  # needs no extra
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "broken.mp4").write_bytes(b"no video")
    for file in sorted(worlds_manifest.parent.rglob("*.mp4"))[:2]:
        (videos / file.name).symlink_to(file)
    document = natural_demo.folder_demo(videos, tmp_path / "demo")
    assert [row["query"] for row in document["searches"]] == list(natural_demo.QUERIES)
    assert all(row["results"] for row in document["searches"])
    assert [Path(picture).name for picture in document["pictures"]] == ["own.png", "own.html"]
    assert [Path(path).name for path, _ in document["skipped"]] == ["broken.mp4"]
    natural_demo.print_folder(document)
    printed = capsys.readouterr().out
    assert "search it yourself" in printed
    words = [row["results"][0]["evidence"] for row in document["searches"]]
    assert all(word in ("strong", "weak", "none") and word in printed for word in words)
    with pytest.raises(UsageError, match="no such folder"):
        natural_demo.folder_demo(tmp_path / "missing", tmp_path / "demo")
