"""Writes a data set's files and reads them: shared by the tests of the readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mova.data.manifest import Row
from mova.data.readers.registry import convert


def read(name: str, folder: Path, files: Mapping[str, str | bytes | Any], **options: Any) -> dict[str, Row]:
    """Rows by id of a data set whose files hold texts, bytes, or anything else as JSON."""
    source = folder / "in"
    for file, content in files.items():
        document = content if isinstance(content, str | bytes) else json.dumps(content)
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_bytes(document if isinstance(document, bytes) else document.encode())
    return {row.id: row for row in convert(name, source, folder / "out", **options).rows}


def texts(row: Row) -> list[str]:
    """Texts of a row's captions."""
    return [caption.text for caption in row.captions]


def jsonl(*entries: Any) -> str:
    """JSON lines."""
    return "".join(json.dumps(entry) + "\n" for entry in entries)
