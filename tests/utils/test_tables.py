"""Tables, documents and lists of ids: locations, byte-order marks, and errors that name file and line."""

from __future__ import annotations

import codecs
import csv
from pathlib import Path

import pytest

from mova.errors import DataError
from mova.utils.tables import guard_cell, read_csv, read_json, read_jsonl, read_list, read_table


def written(tmp_path: Path, text: str | bytes, name: str = "x") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3: has 1 columns instead of 2"),
        ("a,b\n1,2,3\n", "line 2: has 3 columns instead of 2"),
        ("a,c\n1,2\n", "line 1: missing column 'b'; the columns are: a, c"),
        ("a,b,b\n1,2,3\n", "line 1: duplicate column names"),
        ('a,b\n"x\ny",2\n3\n', "line 4: has 1 columns"),
        ('a,b\n1,"2"3\n', "line 2: not CSV"),
        ("", "missing column 'a', 'b'"),
        (b"a,b\n1,2\n\xff,2\n", "line 3: is not UTF-8"),
    ],
)
def test_errors_of_tables_name_the_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_csv(written(tmp_path, text), "a", "b"))


def test_tables_are_read_as_spreadsheets_write_them(tmp_path: Path) -> None:
    path = written(tmp_path, b'\xef\xbb\xbfa,b\r\n"x, ""y""\r\nz",2\r\n\r\n3,\r\n')
    assert list(read_csv(path, "a")) == [
        (f"{path}, line 2", {"a": 'x, "y"\r\nz', "b": "2"}),
        (f"{path}, line 5", {"a": "3", "b": ""}),
    ]
    tabbed = written(tmp_path, 'a\t"b\n', "tabs")
    assert list(read_table(tabbed, 2, "\t")) == [(f"{tabbed}, line 1", ["a", '"b'])]


def test_errors_of_documents_and_lists_name_the_location(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="duplicate key 'a'"):
        read_json(written(tmp_path, '{"b": {"a": 1, "a": 2}}'))
    with pytest.raises(DataError, match="not JSON"):
        read_json(written(tmp_path, "{"))
    with pytest.raises(DataError, match="line 3: not JSON"):
        list(read_jsonl(written(tmp_path, "1\n\n{\n")))
    with pytest.raises(DataError, match=r"line 4: duplicate 'a', first used in .*line 2"):
        read_list(written(tmp_path, "id\na\nb\na\n"), header="id")
    with pytest.raises(DataError, match="has no ids"):
        read_list(written(tmp_path, "\n"))
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path / "nowhere")
    assert list(read_list(written(tmp_path, "a\r\n\r\nb"))) == ["a", "b"]


MARKED = [
    ("utf-8", codecs.BOM_UTF8),
    ("utf-16-le", codecs.BOM_UTF16_LE),
    ("utf-16-be", codecs.BOM_UTF16_BE),
    ("utf-32-le", codecs.BOM_UTF32_LE),
    ("utf-32-be", codecs.BOM_UTF32_BE),
]


@pytest.mark.parametrize(("encoding", "mark"), MARKED, ids=[name for name, _ in MARKED])
def test_a_byte_order_mark_changes_nothing(tmp_path: Path, encoding: str, mark: bytes) -> None:
    def marked(text: str) -> Path:
        return written(tmp_path, mark + text.encode(encoding))

    assert read_json(marked('{"a": "é"}')) == {"a": "é"}
    assert [value for _, value in read_jsonl(marked('{"a": 1}\r\n{"a": 2}'))] == [{"a": 1}, {"a": 2}]
    assert [row for _, row in read_csv(marked("a,b\né,2\n"), "a")] == [{"a": "é", "b": "2"}]
    assert list(read_list(marked("id\nx\n"), header="id")) == ["x"]


def test_semicolons_separate_columns_if_the_header_has_no_comma(tmp_path: Path) -> None:
    path = written(tmp_path, 'video;caption\na.mp4;"One, two; three."\nb.mp4;Four\n')
    assert [row for _, row in read_csv(path, "video", "caption")] == [
        {"video": "a.mp4", "caption": "One, two; three."},
        {"video": "b.mp4", "caption": "Four"},
    ]
    path = written(tmp_path, "video,caption\na.mp4,One; two\n")
    assert [row for _, row in read_csv(path, "video", "caption")] == [{"video": "a.mp4", "caption": "One; two"}]


@pytest.mark.parametrize("depth", [65, 2_000, 100_000])
def test_deep_nesting_is_an_error_with_the_line(tmp_path: Path, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    with pytest.raises(DataError, match="line 2: lists and objects are nested more than 64 levels deep"):
        list(read_jsonl(written(tmp_path, f"1\n{deep}\n")))
    with pytest.raises(DataError, match="x: lists and objects are nested more than 64 levels deep"):
        read_json(written(tmp_path, deep))


def test_nesting_up_to_the_limit_is_read(tmp_path: Path) -> None:
    assert read_json(written(tmp_path, "[" * 64 + "]" * 64))
    flat = "[" + ", ".join(["[1, {}]"] * 100) + "]"
    assert read_json(written(tmp_path, flat)) == [[1, {}]] * 100


def test_numbers_that_python_refuses_are_errors_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: not JSON"):
        list(read_jsonl(written(tmp_path, "1" * 5_000)))


def test_texts_that_begin_like_formulas_are_guarded_and_read_back(tmp_path: Path) -> None:
    texts = ["=HYPERLINK(1)", "+1 dog", "-2 cats", "@sum", "\ttab", "\rreturn", "-2.5", "+3e4", "'quoted", "a - b", ""]
    texts += ["'=really", "''-twice", "'-2.5", "'", "''"]
    guarded = [guard_cell(text) for text in texts]
    assert [text for text, cell in zip(texts, guarded, strict=True) if cell == text] == [*texts[6:11], *texts[14:]]
    assert all(cell.startswith("'") for cell in guarded[:6])
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "end"], *([cell, "x"] for cell in guarded)])
    assert [row["text"] for _, row in read_csv(path, "text")] == texts
