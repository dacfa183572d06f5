"""The state of the files that a snapshot and a text tower were made from, and small JSON files with a digest."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mova.search.storage.checksums import MUTABLE, TABLES
from mova.search.storage.checksums import NAME as CHECKSUMS
from mova.utils.replacing import replacing

SNAPSHOT_FOLDER, SNAPSHOT_NAME = "snapshot", "snapshot.json"


def discard_snapshot(folder: Path) -> None:
    """Remove the snapshot of an index, before its tables are made anew."""
    (folder / SNAPSHOT_FOLDER / SNAPSHOT_NAME).unlink(missing_ok=True)


def tower_folder(folder: Path | None, fingerprint: str) -> Path:
    """Return where the text tower of an index is: in its folder, or in the user's cache if it has none.

    Args:
        folder: of a local index; None for a remote one.
        fingerprint: of its model.
    """
    return _cached(fingerprint) if folder is None else folder


def copy_folder(uri: str) -> Path:
    """Return the folder in the user's cache for what is made from a remote index: its snapshot, its false alarms.

    Args:
        uri: of the index.
    """
    return _cached(f"{uri} {os.environ.get('AWS_ENDPOINT_URL', '')}")


def _cached(key: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache) / "mova" / "remote" / hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def has_tables(folder: Path) -> bool:
    """Return whether there can be an index in a folder; nothing is opened."""
    return any((folder / name).exists() for name in (*(f"{table}.lance" for table in TABLES), CHECKSUMS))


def tables_state(folder: Path) -> str | None:
    """Return a hash that changes with every write to the tables of an index, and with every change of their files.

    Each write of LanceDB adds a file that describes the new version. The hash covers the names, sizes and modification
    times of all files of both tables, so files that were changed by other means are noticed too.

    Returns:
        None if a table is missing.
    """
    rows: list[tuple[str, int, int]] = []
    for table in TABLES:
        before = len(rows)
        _add_files(folder / f"{table}.lance", len(str(folder)), rows)
        if len(rows) == before:
            return None
    return _hash_rows(rows)


def model_state(name: str) -> str:
    """Return a hash of the names, sizes and modification times of a local model's files; empty for other models.

    The files of other models never change: they come with this version of mova, or have one name per revision.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return ""
    rows: list[tuple[str, int, int]] = []
    _add_files(folder, len(str(folder)), rows)
    return _hash_rows(rows)


def files_changed(state: str, stored: str) -> bool:
    """Return whether the files of a model are there and are not as they were.

    Files that are gone cannot be compared: what was made from them belongs to the fingerprint of the index.

    Args:
        state: present `model_state`.
        stored: earlier one.

    >>> files_changed("b", "a"), files_changed("a", "a"), files_changed("", "a"), files_changed("b", "")
    (True, False, False, True)
    """
    return state not in ("", stored)


def model_gone(name: str) -> bool:
    """Return whether a model is named by its folder, and there is no folder there any more.

    >>> model_gone("mova-natural"), model_gone("/nowhere/model")
    (False, True)
    """
    return os.path.isabs(name) and not os.path.isdir(name)


def same_model(name: object, stored: str) -> bool:
    """Return whether a requested model is by its name or folder the one that an index was made with.

    Args:
        name: name or folder; None for the index's own model. A model that is loaded is never the same.
        stored: name in the index.
    """
    if not isinstance(name, str):
        return name is None
    folder = Path(name).expanduser()
    return name == stored or (folder.is_dir() and str(folder.resolve()) == stored)


def _add_files(folder: Path, prefix: int, rows: list[tuple[str, int, int]]) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            if name == MUTABLE or name[0] == ".":
                continue
            path = os.path.join(root, name)
            try:
                status = os.stat(path)
            except FileNotFoundError:  # removed by a writer just now: its new version changes the hash, too
                continue
            rows.append((path[prefix:], status.st_size, status.st_mtime_ns))


def _hash_rows(rows: list[tuple[str, int, int]]) -> str:
    return hashlib.blake2b(json.dumps(sorted(rows)).encode(), digest_size=16).hexdigest()


def write_signed(path: Path, document: dict[str, Any]) -> None:
    """Replace a JSON file; `read_signed` notices any other change.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump({"digest": _digest(document), **document}, file)
        file.flush()
        os.fsync(file.fileno())


def read_signed(path: Path) -> dict[str, Any] | None:
    """Return what `write_signed` wrote; None if the file is missing, was changed or cannot be read."""
    try:
        document = json.loads(path.read_bytes())
        digest = document.pop("digest")
        return document if digest == _digest(document) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _digest(document: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16).hexdigest()
