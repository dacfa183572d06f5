"""Subtitles: cues of odd files, and the manifest that they become."""

from __future__ import annotations

from pathlib import Path

import pytest

from mova.data.readers.registry import convert
from mova.data.readers.subtitles import Cue, read_cues
from mova.errors import DataError

SRT = (
    "\ufeff1\r\n00:00:01,000 --> 00:00:03,000  X1:40 X2:600 Y1:20 Y2:50\r\n<i>A red bar</i>\r\nmoves.\r\n\r\n"
    '2\r\n00:00:03,500 --> 00:00:06,250\r\n{\\an8}<font color="#ffffff">A blue</font> bar &amp; a dog.\r\n\r\n'
)
VTT = """WEBVTT - made by hand
Kind: captions

STYLE
::cue(b) --> { color: red }

NOTE
00:00 is not a time here

first cue
00:01.000 --> 00:03.000 align:start position:10%
<v Ann>A <b>red</b> bar
moves.</v>

NOTE another --> one

1:00:03.500 --> 1:00:06.250
A blue bar &amp; <c.loud>a</c><00:00:04.000> dog.
"""


TWO = [(1.0, 2.0, "One."), (3.0, 4.0, "Two.")]


def cues(tmp_path: Path, text: str | bytes, name: str = "a.srt") -> list[tuple[float, float, str]]:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(cue.start, cue.end, cue.text) for cue in read_cues(path)]


def test_the_two_formats_without_markup(tmp_path: Path) -> None:
    assert cues(tmp_path, SRT) == [(1.0, 3.0, "A red bar moves."), (3.5, 6.25, "A blue bar & a dog.")]
    assert cues(tmp_path, VTT) == [(1.0, 3.0, "A red bar moves."), (3603.5, 3606.25, "A blue bar & a dog.")]
    assert read_cues(tmp_path / "a.srt")[1].line == 17
    marked = SRT.removeprefix("\ufeff").encode("utf-16")
    assert cues(tmp_path, marked) == [(1.0, 3.0, "A red bar moves."), (3.5, 6.25, "A blue bar & a dog.")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\n00:00:01 --> 00:00:02\nNo fraction.", [(1.0, 2.0, "No fraction.")]),
        ("1\n00:00:01.5 --> 0:0:2.25\nPoints.", [(1.5, 2.25, "Points.")]),
        ("01:02,5 --> 01:03,5\nNo hours.\n", [(62.5, 63.5, "No hours.")]),
        ("1\n100:00:01,000 --> 100:00:02,000\nLate.\n", [(360_001.0, 360_002.0, "Late.")]),
        (
            "1\n00:00:01,000 --> 00:00:02,000\nOne\n\nwith an empty line.\n\n2\n00:00:03,000 --> 00:00:04,000\nTwo.",
            [(1.0, 2.0, "One with an empty line."), (3.0, 4.0, "Two.")],
        ),
        (
            "1\n00:00:01,000 --> 00:00:02,000\nOne.\n2\n00:00:03,000 --> 00:00:04,000\n10\n\n\n3\n\n"
            "00:00:05,000 --> 00:00:06,000\nThree.",
            [(1.0, 2.0, "One."), (3.0, 4.0, "10"), (5.0, 6.0, "Three.")],
        ),
        (
            "00:00:01,000 --> 00:00:02,000\n42\n\n00:00:03,000 --> 00:00:04,000\nNo numbers of cues.",
            [(1.0, 2.0, "42"), (3.0, 4.0, "No numbers of cues.")],
        ),
        (
            "1\n00:00:01,000 --> 00:00:02,000\n- Where?\n- There.\n\n2\n00:00:03,000 --> 00:00:04,000\n-5 degrees",
            [(1.0, 2.0, "Where? There."), (3.0, 4.0, "-5 degrees")],
        ),
        (
            "1\n00:00:01,000 --> 00:00:02,000\n♪\n\n2\n00:00:02,000 --> 00:00:03,000\n\n"
            "3\n00:00:04,000 --> 00:00:05,000\nOh.",
            [(4.0, 5.0, "Oh.")],
        ),
        (
            "1\n00:00:01,000 --> 00:00:02,000\nI <3 you,\\Na --> b <laughs>\x1b[1m",
            [(1.0, 2.0, "I <3 you, a --> b <laughs> [1m")],
        ),
        (
            "1\n00:00:05,000 --> 00:00:07,000\nB.\n\n2\n00:00:01,000 --> 00:00:06,000\nA, over B.",
            [(1.0, 6.0, "A, over B."), (5.0, 7.0, "B.")],
        ),
        (
            "WEBVTT\n \n00:01.000 --> 00:02.000\n \nOne.\n\n\n00:03.000 --> 00:04.000\nTwo.",
            [(1.0, 2.0, "One."), (3.0, 4.0, "Two.")],
        ),
        (
            "WEBVTT\n\n00:01.000 --> 00:02.000\nOne.\n00:03.000 --> 00:04.000\nTwo.",
            [(1.0, 2.0, "One."), (3.0, 4.0, "Two.")],
        ),
        ("1\r00:00:01,000 --> 00:00:02,000\rOld line ends.\r", [(1.0, 2.0, "Old line ends.")]),
    ],
)
def test_odd_files(tmp_path: Path, text: str, expected: list[tuple[float, float, str]]) -> None:
    assert cues(tmp_path, text) == expected


def test_rolling_captions_are_read_once(tmp_path: Path) -> None:
    text = """WEBVTT
Kind: captions

00:00:00.160 --> 00:00:02.470 align:start position:0%
\x20
a<00:00:00.480><c> man</c><00:00:00.640><c> opens</c>

00:00:02.470 --> 00:00:02.480 align:start position:0%
a man opens
\x20

00:00:02.480 --> 00:00:04.789 align:start position:0%
a man opens
a<00:00:02.720><c> door</c>

00:00:04.789 --> 00:00:04.799 align:start position:0%
a door
\x20

00:00:09.000 --> 00:00:10.000
a door
"""
    assert cues(tmp_path, text) == [(0.16, 2.48, "a man opens"), (2.48, 4.799, "a door"), (9.0, 10.0, "a door")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n00:00:61,000 --> 00:01:02,000\nA.\n", r"a\.srt, line 2: expected times such as"),
        ("1\n00:00:01,000 --> 00:0x\n", r"a\.srt, line 2: expected times such as"),
        ("1\n-00:00:01,000 --> 00:00:02,000\nA.\n", r"a\.srt, line 2: expected times such as"),
        ("WEBVTT\n\n\nname\nsoon --> later\nA.\n", r"a\.srt, line 5: expected times such as"),
        ("", "has no subtitles with words"),
        ("A plain text.\n", "has no subtitles with words"),
        ("1\n00:00:01,000 --> 00:00:02,000\n...\n", "has no subtitles with words"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nCaf\xe9.\n", r"a\.srt, line 3: is not UTF-8 text"),
    ],
)
def test_files_that_cannot_be_read_name_the_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        cues(tmp_path, text)


def test_a_folder_of_subtitles_becomes_a_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    for name in ("a.mp4", "b.en.mkv", "test/c.webm", "d.mov"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in ("a.srt", "a.vtt", "b.en.srt", "test/c.pt-BR.vtt", "d.eng.sdh.SRT", "missing.de.srt"):
        (folder / name).write_text(VTT if name.endswith("vtt") else SRT)
    (folder / "bad.srt").write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\nCaf\xe9.\n")
    done = convert("subtitles", folder, folder / "manifest.jsonl")
    assert [(row.id, row.video, row.split, row.meta.get("language")) for row in done.rows] == [
        ("a.srt", "a.mp4", "train", None),
        ("b.en.srt", "b.en.mkv", "train", None),
        ("d.eng.sdh.SRT", "d.mov", "train", "eng"),
        ("missing.de.srt", "missing", "train", "de"),
        ("test/c.pt-BR.vtt", "test/c.webm", "test", "pt-BR"),
    ]
    (caption,) = done.rows[0].captions
    assert caption.text == "A red bar moves. A blue bar & a dog."
    assert [(s.text, s.start, s.end) for s in caption.sentences] == [
        ("A red bar moves.", 1.0, 3.0),
        ("A blue bar & a dog.", 3.5, 6.25),
    ]
    assert done.missing == ("missing",)
    (unreadable,) = done.notes["subtitles cannot be read; excluded"]
    assert "bad.srt, line 3: is not UTF-8 text" in unreadable
    assert done.notes["there is a .srt of the same name; excluded"] == ["a.vtt"]
    (row,) = convert("subtitles", folder / "a.srt", tmp_path / "one.jsonl").rows
    assert row.video == "films/a.mp4"


def test_reversed_cues_are_kept_without_times_and_noted(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:03,000 --> 00:00:01,000\nA.\n\n2\n00:00:04,000 --> 00:00:05,000\nB.\n")
    done = convert("subtitles", tmp_path, tmp_path / "manifest.jsonl")
    assert [(s.text, s.start) for s in done.rows[0].captions[0].sentences] == [("A.", None), ("B.", 4.0)]
    (which,) = done.notes["sentence ends no later than it begins; kept without times"]
    assert "a.srt, line 2" in which


def test_the_cases_of_the_shared_data(shared_data: Path) -> None:
    folder = shared_data / "cases"
    if not (folder / "cap.srt").is_file():
        pytest.skip("the cases are not in the shared data")
    expected = [(1.0, 3.0, "A red bar moves."), (3.5, 6.0, "A blue bar follows.")]
    for name in ("cap.srt", "cap.vtt"):
        assert [(cue.start, cue.end, cue.text) for cue in read_cues(folder / name)] == expected


def test_a_cue_is_its_line_in_the_file() -> None:
    assert Cue(2, 0.0, 1.0, "A.").line == 2
