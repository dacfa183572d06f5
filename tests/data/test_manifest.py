from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mova.data.manifest import Caption, Row, TimedSentence, fingerprint, read_manifest, write_manifest
from mova.errors import DataError


def plain(**changes: Any) -> dict[str, Any]:
    row = {
        "id": "a",
        "video": "a.mp4",
        "duration": 10.0,
        "split": "train",
        "captions": [
            {"text": "One. Two.", "sentences": [{"text": "One.", "start": 0.0, "end": 2.5}, {"text": "Two."}]}
        ],
    }
    return {key: value for key, value in {**row, **changes}.items() if value is not ...}


def written(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows) + "\n", encoding="utf-8")
    return path


def test_fields_of_a_row_are_read(tmp_path: Path) -> None:
    row = read_manifest(written(tmp_path, plain(start=1.0, end=4, source="x", meta={"k": [1]}), "", plain(id="b")))[0]
    assert (row.id, row.video, row.duration, row.split) == ("a", "a.mp4", 10.0, "train")
    assert (row.start, row.end, row.source, row.meta) == (1.0, 4, "x", {"k": [1]})
    assert row.captions[0].sentences == (TimedSentence("One.", 0.0, 2.5), TimedSentence("Two."))


@given(
    st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=4, unique=True),
    st.floats(0.1, 1e5),
    st.text(min_size=1).filter(str.strip),
)
def test_rows_survive_a_round_trip(ids: list[str], duration: float, text: str) -> None:
    import tempfile

    sentence = TimedSentence(text, 0.0, duration)
    rows = [Row(i, "v.mp4", duration, "test", (Caption(text, (sentence,)),), meta={"t": text}) for i in ids]
    with tempfile.TemporaryDirectory() as folder:
        path = write_manifest(Path(folder) / "m.jsonl", rows)
        assert read_manifest(path) == rows
        first = path.read_bytes()
        assert write_manifest(path, rows).read_bytes() == first
        assert [p.name for p in Path(folder).iterdir()] == ["m.jsonl"]


def test_a_lone_surrogate_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, plain(id="b"), plain(captions=[{"text": "A dog \ud83d"}]))  # cut between UTF-16 halves
    with pytest.raises(DataError, match="line 2: a caption's text is not valid Unicode"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON"),
        ('{"id": NaN}', "NaN"),
        ([1], "must be an object"),
        (plain(video=...), "lacks 'video'"),
        (plain(fps=3), "unknown keys 'fps'"),
        (plain(id=""), "'id'"),
        (plain(id=3), "'id'"),
        (plain(duration=-1), "'duration'"),
        (plain(duration=True), "'duration'"),
        (plain(start=1.0), "the clip"),
        (plain(start=4.0, end=2.0), "the clip"),
        (plain(start=4.0, end=12.0), "after the end of the video"),
        (plain(captions={}), "'captions'"),
        (plain(captions=[{"sentences": []}]), "lacks 'text'"),
        (plain(captions=[{"text": " "}]), "must be a non-empty string"),
        (plain(captions=[{"text": "a", "sentences": [{"text": "a", "start": 3, "end": 3}]}]), "0 <= start < end"),
        (plain(captions=[{"text": "a", "sentences": [{"text": "a", "start": 3, "end": 30}]}]), "after the end"),
        (plain(captions=[{"text": "a", "sentences": [{"text": "a", "start": None, "end": 3}]}]), "both null"),
        (plain(meta=[]), "'meta'"),
        (plain(), "duplicate id 'a', first used in line 1"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, row: Any, message: str) -> None:
    path = written(tmp_path, plain(), row)
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    assert message in str(caught.value)
    assert f"{path}, line 2: " in str(caught.value)


def test_missing_empty_and_binary_files(tmp_path: Path) -> None:
    for content in (None, b"", b"\xff\xfe\x00"):
        path = tmp_path / "m.jsonl"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=r"m\.jsonl"):
            read_manifest(path)


def test_a_missing_file_and_a_folder_have_different_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"typo\.jsonl: no such file"):
        read_manifest(tmp_path / "typo.jsonl")
    with pytest.raises(DataError, match="is a folder; give the path of the manifest in it"):
        read_manifest(tmp_path)


def test_unknown_durations_and_line_separators_inside_text(tmp_path: Path) -> None:
    text = "a\u2028b\x85c"
    line = json.dumps(plain(duration=None, captions=[{"text": text}]), ensure_ascii=False)
    rows = read_manifest(written(tmp_path, line))
    assert rows[0].duration is None
    assert rows[0].captions[0].text == text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "m.jsonl", [Row.from_json(plain())])
    old = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(path, [Row.from_json(plain()), Row.from_json(plain(meta={"x": float("nan")}))])
    assert path.read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 1


def test_a_manifest_with_the_longest_name_behind_a_link_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("m" * 249 + ".jsonl")
    link = tmp_path / "link.jsonl"
    link.symlink_to(path.name)
    row = Row.from_json(plain())
    assert write_manifest(link, [row]) == link
    assert link.is_symlink()
    assert read_manifest(path) == [row]


def test_fingerprint_sees_ids_and_captions_only() -> None:
    a, b = Row.from_json(plain()), Row.from_json(plain(id="b"))
    assert fingerprint([a, b]) == fingerprint([b, a])
    assert fingerprint([Row.from_json(plain(video="elsewhere/a.mp4", meta={"x": 1})), b]) == fingerprint([a, b])
    assert fingerprint([a]) != fingerprint([b])
    assert fingerprint([Row.from_json(plain(captions=[{"text": "One. Two!"}]))]) != fingerprint([a])
    assert fingerprint([Row.from_json(plain(start=1, end=2))]) != fingerprint([a])


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_mark_and_other_line_ends_change_nothing(tmp_path: Path, mark: bytes) -> None:
    rows = [Row(name, f"{name}.mp4", 3.0, "test", (Caption("One."),)) for name in ("a", "b")]
    path = write_manifest(tmp_path / "m.jsonl", rows)
    path.write_bytes(mark + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_manifest(path) == rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ('"duration": 1' + "0" * 400, "'duration' must be"),
        ('"duration": 1' + "0" * 5000, "not JSON"),
        ('"duration": ' + "[" * 100_000, "nested more than 64 levels"),
        ('"start": 0, "end": 1e300', "the clip needs 0 <= start < end in seconds"),
    ],
)
def test_numbers_and_nesting_beyond_measure_name_the_line(tmp_path: Path, changes: str, message: str) -> None:
    line = json.dumps(plain(duration=None)).removesuffix("}") + f", {changes}}}"
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        read_manifest(written(tmp_path, "", line))


def test_captions_that_may_be_missing_values_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [Row(text, "a.mp4", 3.0, "test", (Caption(text),)) for text in ("A dog runs.", "nan", "None")]
    path = write_manifest(tmp_path / "m.jsonl", rows)
    assert read_manifest(path) == rows
    assert (
        "2 rows have a caption such as 'nan' or 'None', perhaps a missing value; the first is in line 2" in caplog.text
    )


@pytest.mark.parametrize("video", ["../secret.mp4", "a/../../secret.mp4", "..", "./../x.mp4"])
def test_paths_out_of_the_manifests_folder_are_refused_unless_asked_for(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: str
) -> None:
    monkeypatch.setenv("MOVA_MANIFEST_OUTSIDE", "")  # and restored at the end
    row = {"id": "a", "video": video, "duration": 1.0, "split": "train", "captions": [{"text": "A dog."}]}
    path = tmp_path / "in" / "m.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"m\.jsonl, line 1: the path '.*' leads out of the manifest's folder"):
        read_manifest(path)
    assert read_manifest(path, outside=True)[0].video == video
    code, _, err = call("data", "check", path)
    assert code == 1
    assert "leads out of the manifest's folder" in err
    code, out, _ = call("--manifest-outside", "data", "check", path)
    assert (code, "0 of 1 rows passed" in out) == (0, True)


def test_paths_of_parts_and_synthetic_videos_are_checked_too(tmp_path: Path) -> None:
    parts = {"parts": [{"video": "../b.mp4", "start": 0.0, "end": 2.0}], "duration": 2.0}
    synthetic = {"video": "a.mp4", "duration": 2.0, "meta": {"synthetic": [{"video": "../b.mp4"}]}}
    for extra in (parts, synthetic):
        row = {"id": "a", "split": "train", "captions": [{"text": "A dog."}], **extra}
        (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
        with pytest.raises(DataError, match=r"'\.\./b\.mp4' leads out"):
            read_manifest(tmp_path / "m.jsonl")


def test_absolute_paths_and_paths_that_come_back_are_allowed(tmp_path: Path) -> None:
    for video in ("/data/a.mp4", "a/../b.mp4", "..a.mp4"):
        row = {"id": "a", "video": video, "duration": 1.0, "split": "train", "captions": []}
        (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
        assert read_manifest(tmp_path / "m.jsonl")[0].video == video
