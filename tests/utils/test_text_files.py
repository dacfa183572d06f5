"""Text that users supply: encodings, and errors of files and documents."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mova.errors import DataError
from mova.utils.text_files import brief, open_text, parse_yaml, read_text


def test_line_ends_are_one_kind_and_a_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert read_text(path) == "one\ntwo\nthree\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("content", [b"one\r\ntwo", b"\xef\xbb\xbfone\ntwo", "\ufeffone\ntwo".encode("utf-16")])
def test_a_pipe_is_read_once(content: bytes, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True).start()
    assert read_text(pipe).lstrip("\ufeff") == "one\ntwo"
    threading.Thread(target=pipe.write_bytes, args=(b"one\n\xff",), daemon=True).start()
    with pytest.raises(DataError, match="pipe: is not UTF-8 text"):
        read_text(pipe)


def test_bytes_that_are_not_text_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x\n" * 20_000 + "é\n".encode() + "é\n".encode("cp1252"))
    with pytest.raises(
        DataError, match=r"a\.txt, line 20002: is not UTF-8 text .*; save the file in the encoding UTF-8"
    ):
        read_text(path)
    path.write_bytes(b"\xff\xfea")
    with pytest.raises(DataError, match=r"a\.txt: is not UTF-16 text"):
        read_text(path)


def test_files_that_cannot_be_opened_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: cannot be read: no such file"):
        read_text(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cannot be read: is a folder"):
        read_text(tmp_path)
    with pytest.raises(DataError, match="cannot be read: disk gone"), open_text(__file__):
        raise OSError(5, "disk gone")


@pytest.mark.parametrize(
    "text",
    ["a: [", "a: b: c", "&a [*a]", "[" * 1_000, "2001-99-99", "!!timestamp x", "!!int x", "!!bool x", "? [a]", "\x00"],
)
def test_yaml_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(DataError, match=r"x\.yaml: "):
        parse_yaml(text, "x.yaml")


def test_an_alias_bomb_is_read_in_no_time() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    assert len(brief(parse_yaml("\n".join(lines), "x.yaml"))) < 200


def test_a_value_in_a_message_is_short() -> None:
    assert brief("a") == "'a'"
    assert brief(1.5) == "1.5"
    assert len(brief("x" * 10**6)) < 100
    assert len(brief({f"key {i}": list(range(1000)) for i in range(1000)})) < 200
