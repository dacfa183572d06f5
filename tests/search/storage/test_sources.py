"""What an index was made from: roots, files that failed, and reading all of it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from mova.errors import UsageError
from mova.search.index import Index
from mova.search.storage.sources import NAME, Root, Sources, read_sources
from tests.support.fakes import ColourEncoder, write_colours


@pytest.fixture
def films(tmp_path: Path) -> Path:
    write_colours(tmp_path / "films" / "a.mp4", [("red", 1)])
    return tmp_path / "films"


@pytest.fixture
def index(tmp_path: Path, films: Path) -> Index:
    made = Index(tmp_path / "index", ColourEncoder())
    made.add(films)
    return made


def paths(index: Index) -> list[str]:
    return [Path(record.path).name for record in index.videos()]


def test_roots_inside_other_roots_are_not_listed_twice() -> None:
    sources = Sources().with_roots(["/f/a.mp4", "/f", "/g/b.mp4"])
    assert sources.roots == (Root("/f"), Root("/g/b.mp4"))
    assert sources.with_roots(["/f/deep"], all_files=True).roots == (
        Root("/f"),
        Root("/f/deep", all_files=True),
        Root("/g/b.mp4"),
    )
    assert sources.with_roots(["/f"], all_files=True).roots == (Root("/f", all_files=True), Root("/g/b.mp4"))
    assert sources.with_roots(["/f"], all_files=True).with_roots(["/f"]).roots[0].all_files


def test_update_reads_every_folder_again(index: Index, films: Path, tmp_path: Path) -> None:
    other = write_colours(tmp_path / "other" / "b.mp4", [("blue", 1)])
    index.add(other)
    write_colours(films / "c.mp4", [("green", 1)])
    write_colours(other.parent / "ignored.mp4", [("green", 1)])  # only the file b.mp4 was added there
    report = index.update()
    assert [Path(path).name for path in report.indexed] == ["c.mp4"]
    assert paths(index) == ["a.mp4", "c.mp4", "b.mp4"]
    (films / "a.mp4").unlink()
    assert [Path(path).name for path in index.update().removed] == ["a.mp4"]


def test_update_keeps_the_setting_of_each_folder(index: Index, films: Path, tmp_path: Path) -> None:
    odd = write_colours(tmp_path / "odd" / "b.mp4", [("blue", 1)])
    odd.rename(odd.with_suffix(".xyz"))
    index.add(odd.parent, all_files=True)
    write_colours(films / "c.mp4", [("cyan", 1)]).rename(films / "c.xyz")
    write_colours(odd.parent / "d.mp4", [("white", 1)]).rename(odd.parent / "d.xyz")
    report = index.update()
    assert [Path(path).name for path in report.indexed] == ["d.xyz"]
    assert {Path(root.path).name: root.all_files for root in index.sources.roots} == {"films": False, "odd": True}


def test_a_folder_that_cannot_be_found_is_left_alone(index: Index, films: Path, tmp_path: Path) -> None:
    other = write_colours(tmp_path / "drive" / "b.mp4", [("blue", 1)]).parent
    index.add(other)
    other.rename(tmp_path / "unplugged")
    report = index.update()
    assert report.removed == []
    assert len(index) == 2
    films.rename(tmp_path / "gone too")
    with pytest.raises(UsageError, match="none of its files and folders can be found"):
        index.update()
    assert len(index) == 2


def test_failures_are_kept_until_the_file_is_read_or_forgotten(index: Index, films: Path) -> None:
    broken = films / "broken.mp4"
    broken.write_bytes(b"no video")
    index.add(films)
    assert list(index.sources.failed) == [str(broken)]
    index.add(films / "a.mp4")  # another root: says nothing about the broken file
    assert list(index.sources.failed) == [str(broken)]
    write_colours(broken, [("red", 1)])
    index.update()
    assert index.sources.failed == {}


def test_what_is_forgotten_is_not_read_again(index: Index, films: Path, tmp_path: Path) -> None:
    other = write_colours(tmp_path / "other" / "b.mp4", [("blue", 1)])
    index.add(other.parent)
    index.remove(films)
    assert [root.path for root in index.sources.roots] == [str(other.parent)]
    index.update()
    assert paths(index) == ["b.mp4"]


def test_a_file_that_was_forgotten_stays_out_until_it_is_added_again(index: Index, films: Path) -> None:
    kept = write_colours(films / "kept.mp4", [("blue", 1)])
    index.update()
    index.remove(films / "a.mp4")
    assert index.sources.forgotten == (str(films / "a.mp4"),)
    (films / "a.mp4").touch()
    assert index.update().indexed == []
    assert paths(index) == ["kept.mp4"]
    index.add(kept)  # says nothing about the other file
    index.update()
    assert paths(index) == ["kept.mp4"]
    index.add(films)
    assert index.sources.forgotten == ()
    assert paths(index) == ["a.mp4", "kept.mp4"]


def test_a_file_of_a_forgotten_folder_is_read_once_it_is_added(index: Index, films: Path) -> None:
    deep = films / "deep"
    one, two = (write_colours(deep / f"{name}.mp4", [(name, 1)]) for name in ("blue", "green"))
    index.update()
    index.remove(deep)
    index.add(one)
    assert index.sources.roots == (Root(str(films)), Root(str(one)))
    write_colours(one, [("cyan", 1)])
    assert [Path(path).name for path in index.update().indexed] == ["blue.mp4"]
    assert paths(index) == ["a.mp4", "blue.mp4"]
    assert two.exists()


def test_what_was_never_there_is_not_kept_as_forgotten(index: Index, films: Path) -> None:
    before = index.sources
    assert index.remove(films / "typo.mp4") == []
    assert index.sources == before


def test_a_drive_whose_empty_folder_is_left_does_not_stop_an_update(
    index: Index, films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    film = write_colours(tmp_path / "drive" / "b.mp4", [("blue", 1)])
    index.add(film.parent)
    film.rename(tmp_path / "unplugged.mp4")
    write_colours(films / "c.mp4", [("green", 1)])
    report = index.update()
    assert ([Path(path).name for path in report.indexed], report.removed) == (["c.mp4"], [])
    assert f"{film.parent}: no longer contains any video, but the index has 1 from it; left as it is" in caplog.text
    assert len(index) == 3
    for path in films.iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="no longer contains any video"):
        index.update()
    assert len(index) == 3


def test_a_run_that_changes_nothing_does_not_change_the_sources(index: Index, films: Path, tmp_path: Path) -> None:
    before = (tmp_path / "index" / NAME).read_bytes()
    other = write_colours(tmp_path / "other" / "b.mp4", [("blue", 1)])
    (films / "a.mp4").unlink()
    with pytest.raises(UsageError, match="Nothing was changed"):
        index.add([films, other])
    assert (tmp_path / "index" / NAME).read_bytes() == before


def test_an_index_without_sources_says_how_to_go_on(index: Index, tmp_path: Path) -> None:
    (tmp_path / "index" / NAME).unlink()
    with pytest.raises(UsageError, match="name them to `mova index PATH"):
        index.update()
    with pytest.raises(UsageError, match="no index here"):
        Index(tmp_path / "nowhere", ColourEncoder()).update()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"roots": [1], "failed": {}, "updated": ""}', '{"roots": []}'])
def test_a_damaged_file_is_a_warning(text: str, index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "index" / NAME).write_text(text)
    assert read_sources(index) == Sources()
    assert "name the folders to `mova index` again" in caplog.text
    assert len(index.search("red")) == 1


def test_an_interrupted_first_run_knows_its_folder(films: Path, tmp_path: Path) -> None:
    class Stopped(ColourEncoder):
        def encode_frames(self, frames):  # type: ignore[no-untyped-def]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index(tmp_path / "index", Stopped()).add(films)
    assert [root.path for root in Index(tmp_path / "index").sources.roots] == [str(films)]
