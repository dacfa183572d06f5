"""Search by example: a stored moment, a moment of another file, a picture, and words beside it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mova.errors import UsageError, VideoError
from mova.search.index import Index
from mova.search.like.example import Example
from mova.search.narrow.answer import Answer
from mova.types import Moment
from tests.support.fakes import COLOURS, ColourEncoder, write_colours


@pytest.fixture
def index(tmp_path: Path) -> Index:
    write_colours(tmp_path / "films" / "a.mp4", [("red", 2), ("blue", 3)])
    write_colours(tmp_path / "films" / "b.mp4", [("green", 2), ("red", 2)])
    write_colours(tmp_path / "films" / "c.mp4", [("yellow", 2), ("blue", 2)])
    made = Index(tmp_path / "index", ColourEncoder())
    made.add(tmp_path / "films")
    return made


def brief(moments: list[Moment]) -> list[tuple[str, float, float]]:
    return [(Path(moment.video).name, moment.start, moment.end) for moment in moments]


@pytest.mark.parametrize(
    ("text", "name", "time"),
    [
        ("f.mp4@83", "f.mp4", 83.0),
        ("f.mp4@1:23", "f.mp4", 83.0),
        ("f.mp4@1:23.5", "f.mp4", 83.5),
        ("f.mp4@1:02:03", "f.mp4", 3723.0),
        ("a@b/f.mp4@0", "a@b/f.mp4", 0.0),
        ("me@home.png", "me@home.png", 0.0),
    ],
)
def test_an_example_is_a_file_and_a_time(text: str, name: str, time: float) -> None:
    example = Example.parse(text)
    assert (str(example.path), example.time) == (name, time)
    assert Example.parse(example.name) == example


def test_a_file_whose_name_ends_like_a_time_is_that_file(tmp_path: Path) -> None:
    odd = tmp_path / "f@12"
    odd.touch()
    with pytest.raises(UsageError, match="name the moment of the video"):
        Example.parse(str(odd))
    assert Example.parse(f"{odd}@3") == Example(odd, 3.0)


@pytest.mark.parametrize("time", [-1.0, float("nan"), float("inf")])
def test_impossible_times_are_refused(time: float) -> None:
    with pytest.raises(UsageError, match="0 s or later"):
        Example(Path("f.mp4"), time)


def test_a_stored_moment_finds_others_like_it_without_the_model(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Index(tmp_path / "index")
    monkeypatch.setattr(Index, "model", property(lambda self: pytest.fail("the model was loaded")))
    assert brief(fresh.search_like(f"{tmp_path}/films/a.mp4@0:01", k=1)) == [("b.mp4", 2.0, 4.0)]
    assert brief(fresh.search_like(f"{tmp_path}/films/a.mp4@4", k=1)) == [("c.mp4", 2.0, 4.0)]


def test_the_example_itself_is_not_a_result_under_any_path(index: Index, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes((tmp_path / "films" / "a.mp4").read_bytes())
    index.add(copy)
    for path in (copy, tmp_path / "films" / "a.mp4"):
        moments = index.search_like(f"{path}@1", k=3)
        assert brief(moments)[0] == ("b.mp4", 2.0, 4.0)
        assert ("a.mp4", 0.0, 2.0) not in brief(moments)


@pytest.mark.parametrize(("time", "left"), [(0.0, [1]), (1.9, [1]), (2.0, [0]), (4.9, [0]), (5.0, [0])])
def test_of_two_moments_that_touch_only_the_one_with_the_example_is_left_out(
    time: float, left: list[int], index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "films" / "a.mp4"  # red until 2 s, then blue until 5 s, its end
    both = [Moment(str(film), 0.0, 2.0, 0.9), Moment(str(film), 2.0, 5.0, 0.8)]
    monkeypatch.setattr("mova.search.like.query.search", lambda *_, **options: both)
    assert index.search_like(f"{film}@{time}") == [both[number] for number in left]


@pytest.mark.parametrize("options", [{}, {"text": "red"}, {"by": "a red thing, a blue thing"}])
def test_an_index_whose_videos_were_all_forgotten_has_no_moments(
    index: Index, tmp_path: Path, options: dict[str, str]
) -> None:
    index.remove(tmp_path / "films")
    assert index.search_like(f"{tmp_path}/films/a.mp4@1", **options) == []  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="k must be at least 1"):
        index.search_like(f"{tmp_path}/films/a.mp4@1", k=0)


def test_a_moment_of_another_file_and_a_picture_are_encoded(index: Index, tmp_path: Path) -> None:
    other = write_colours(tmp_path / "other.mp4", [("white", 2), ("yellow", 2)])
    assert brief(index.search_like(f"{other}@3", k=1)) == [("c.mp4", 0.0, 2.0)]
    assert brief(index.search_like(f"{other}@4", k=1)) == [("c.mp4", 0.0, 2.0)]  # the end: the last frame
    picture = tmp_path / "green.png"
    Image.fromarray(np.full((48, 64, 3), COLOURS["green"], np.uint8)).save(picture)
    assert brief(index.search_like(str(picture), k=1)) == [("b.mp4", 0.0, 2.0)]
    assert brief(index.search_like(Example(picture), k=1)) == [("b.mp4", 0.0, 2.0)]


def test_words_move_the_answer_by_their_weight(index: Index, tmp_path: Path) -> None:
    example = f"{tmp_path}/films/a.mp4@1"
    assert brief(index.search_like(example, "yellow", k=1, words=0.0)) == brief(index.search_like(example, k=1))
    assert brief(index.search_like(example, "yellow", k=1, words=1.0)) == brief(index.search("yellow", k=1))
    both = brief(index.search_like(example, "yellow", k=2, words=0.5))
    assert set(both) == {("b.mp4", 2.0, 4.0), ("c.mp4", 0.0, 2.0)}


@pytest.mark.parametrize("form", ["pil", "array", "bytes", "file", "vector"])
def test_a_picture_in_memory_is_the_file_of_it(index: Index, tmp_path: Path, form: str) -> None:
    path = tmp_path / "green.png"
    Image.fromarray(np.full((48, 64, 3), COLOURS["green"], np.uint8)).save(path)
    picture = {
        "pil": Image.open(path),
        "array": np.asarray(Image.open(path)),
        "bytes": path.read_bytes(),
        "file": BytesIO(path.read_bytes()),
        "vector": index.model.encode(path),
    }[form]
    assert brief(index.search_like(picture, k=2)) == brief(index.search_like(path, k=2))
    if form == "bytes":
        assert brief(index.search(picture, k=1)) == brief(index.search(path, k=1))
    if form != "file":
        words = {"k": 2, "words": 0.9, "skip": 1}
        assert brief(index.search_like(picture, "yellow", **words)) == brief(index.search_like(path, "yellow", **words))


def test_answers_and_their_parts_are_tables_with_the_same_columns(index: Index) -> None:
    pytest.importorskip("pandas")
    found = index.search_like(f"{index.videos()[0].path}@1", k=3, skip=1)
    assert isinstance(found, Answer)
    assert found.skip == 1
    text = index.search("red", k=3)
    for answer in (found, text, text[:2], text.copy(), Answer()):
        assert isinstance(answer, Answer)
        assert list(answer.to_pandas()) == ["video", "start", "end", "score", "false_alarm", "evidence"]
        assert len(answer.to_pandas()["score"]) == len(answer)
    assert (text[1:].skip, text[:1].skip, text[1:].background) == (1, 0, text.background)
    assert repr(index) == f"Index({index.uri!r})"


def test_an_example_may_be_a_path_and_anything_else_is_one_message(index: Index, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"an example is a path, .* a picture or a vector \(d,\), not set"):
        index.search_like({"film.mp4"})
    with pytest.raises(UsageError, match="no such file"):
        index.search_like(tmp_path / "none.mp4@0:01")


def test_wrong_input_is_one_message(index: Index, tmp_path: Path) -> None:
    film = tmp_path / "films" / "a.mp4"
    with pytest.raises(UsageError, match=r"5\.0 s long, so that it shows nothing at 9 s"):
        index.search_like(f"{film}@9")
    with pytest.raises(UsageError, match="no such file"):
        index.search_like(str(tmp_path / "gone.mp4@3"))
    with pytest.raises(UsageError, match="k must be at least 1"):
        index.search_like(f"{film}@1", k=0)
    with pytest.raises(UsageError, match="weight of the words"):
        index.search_like(f"{film}@1", "red", words=2.0)
    with pytest.raises(UsageError, match="no index here"):
        Index(tmp_path / "nowhere", ColourEncoder()).search_like(f"{film}@1")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(VideoError):
        index.search_like(str(broken))


def test_an_indexed_film_that_is_gone_is_an_example_by_its_stored_vectors(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "films" / "a.mp4"
    film.unlink()
    fresh = Index(tmp_path / "index")
    monkeypatch.setattr(Index, "model", property(lambda self: pytest.fail("the model was loaded")))
    assert brief(fresh.search_like(f"{film}@0:01", k=1)) == [("b.mp4", 2.0, 4.0)]
    assert fresh.stored(film) is None, "elsewhere a file that is gone is an error"
    with pytest.raises(UsageError, match=r"5\.0 s long, so that it shows nothing at 9 s"):
        fresh.search_like(f"{film}@9")
    film.write_bytes(b"another file")  # under the same name: its own content counts
    assert fresh.stored(film, vanished=True) is None


@pytest.mark.parametrize("time", ["abc", "-3", "nan", "", "1:2:3:4", "1.", "10 s"])
def test_what_is_not_a_time_is_named(time: str, index: Index, tmp_path: Path) -> None:
    film = tmp_path / "films" / "a.mp4"
    for path in (film, tmp_path / "gone.mp4"):
        with pytest.raises(UsageError, match=r"is not a time; name a moment as .*\.mp4@1:23") as error:
            index.search_like(f"{path}@{time}")
        assert f"{path}@{time}: {time!r} is not a time" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture.png@3", "is a picture, which has no time; omit @3"),
        ("picture.png@abc", "is a picture, which has no time; omit @abc"),
        ("", "the example is empty"),
        ("  ", "the example is empty"),
        ("@3", "names no file before the @"),
    ],
)
def test_an_example_that_names_no_moment_is_one_message(text: str, message: str, index: Index) -> None:
    with pytest.raises(UsageError, match=message):
        index.search_like(text)


def test_a_picture_has_no_time_in_python_either() -> None:
    assert Example(Path("a.png"), 0.0).time == 0
    with pytest.raises(UsageError, match="is a picture, which has no time; omit @3"):
        Example(Path("a.png"), 3.0)


def test_names_with_an_at_sign_are_files(index: Index, tmp_path: Path) -> None:
    film = write_colours(tmp_path / "me@home.mp4", [("white", 2), ("yellow", 2)])
    assert brief(index.search_like(f"{film}@3", k=1)) == [("c.mp4", 0.0, 2.0)]
    with pytest.raises(UsageError, match="name the moment of the video"):
        index.search_like(str(film))
    with pytest.raises(UsageError, match="no such file"):
        index.search_like(str(tmp_path / "you@home.png"))
