"""Checksums of the files of a local index, so that every changed or missing file is noticed.

LanceDB never changes a file of a table once it is written, except a hint that it does not rely on. After each write,
`seal` adds the new files to `checksums.json`. Files that a killed run left behind are not listed yet, which is no
damage; the next write adds them.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mova.utils.hashing import content_hash

NAME = "checksums.json"
TABLES = ("frames", "videos")
MUTABLE = "latest_version_hint.json"


class ChecksumError(ValueError):
    """The list of checksums itself is damaged."""


@dataclass(frozen=True)
class Seal:
    """The state of an index's files after a write.

    Attributes:
        versions: version of each table.
        manifests: file that describes this version of each table, relative to the index.
        files: size in bytes and hash of each file, by its path relative to the index.
    """

    versions: dict[str, int] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[Any]] = field(default_factory=dict)


def read(folder: Path) -> Seal | None:
    """Return the last seal of an index; None if it was never sealed.

    Raises:
        ChecksumError: it was changed.
    """
    try:
        text = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return None
    try:
        document = json.loads(text)
        digest = document.pop("digest")
        result = Seal(**document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ChecksumError(f"{NAME} was changed") from error
    if digest != _digest(document):
        raise ChecksumError(f"{NAME} was changed")
    return result


def seal(folder: Path) -> None:
    """Add the files that were written since the last seal, and forget those that were removed."""
    try:
        known = read(folder)
    except ChecksumError:
        known = None
    old = known.files if known else {}
    files, versions, manifests = {}, {}, {}
    for table in TABLES:
        latest = _latest(folder, table)
        if latest is not None:
            versions[table], manifests[table] = latest
        for path in _files(folder / f"{table}.lance"):
            name = path.relative_to(folder).as_posix()
            try:
                files[name] = old.get(name) or [path.stat().st_size, content_hash(path)]
            except FileNotFoundError:  # removed by a reader's clean-up
                continue
    document = asdict(Seal(versions, manifests, files))
    temporary = folder / f".{NAME}.part"
    try:
        with temporary.open("w") as handle:
            json.dump({"digest": _digest(document), **document}, handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(folder / NAME)
    finally:
        temporary.unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove the seal, before the tables are made anew."""
    (folder / NAME).unlink(missing_ok=True)


def quick_check(folder: Path) -> str | None:
    """Return what is wrong with the newest state of the tables, if anything; reads two small files per table."""
    try:
        last = read(folder)
    except ChecksumError:
        return None  # found by `mova index --verify`; the tables may be sound
    if last is None:
        return None
    for table, version in last.versions.items():
        latest = _latest(folder, table)
        if latest is None or latest[0] < version:
            return f"the newest version of its table {table!r} is missing"
        name = last.manifests[table]
        path = folder / name
        try:
            if name in last.files and content_hash(path) != last.files[name][1]:
                return f"{name} was changed"
        except FileNotFoundError:  # replaced by a newer version, and removed
            continue
    return None


def check(folder: Path) -> tuple[list[str], int]:
    """Compare every file with its checksum.

    Returns:
        What is wrong, a line per file, and the number of files compared.
    """
    try:
        last = read(folder)
    except ChecksumError as error:
        return [f"{error}"], 0
    if last is None:
        return [], 0
    problems = []
    for table, version in last.versions.items():
        latest = _latest(folder, table)
        if latest is None or latest[0] < version:
            problems.append(f"the newest version of its table {table!r} is missing")
    for name, (size, digest) in sorted(last.files.items()):
        path = folder / name
        latest = _latest(folder, name.split(".lance/")[0])
        try:
            if path.stat().st_size != size or content_hash(path) != digest:
                problems.append(f"{name} was changed")
        except FileNotFoundError:
            if latest is not None and latest[0] <= last.versions.get(name.split(".lance/")[0], 0):
                problems.append(f"{name} is missing")  # with a newer version, an interrupted run may have removed it
        except OSError as error:
            problems.append(f"{name} cannot be read ({error.strerror or error})")
    return problems, len(last.files)


def _files(table: Path) -> list[Path]:
    """Return the files of a table that never change, sorted."""
    return sorted(
        Path(root, name) for root, _, names in os.walk(table) for name in names if name != MUTABLE and name[0] != "."
    )


def _latest(folder: Path, table: str) -> tuple[int, str] | None:
    """Return the newest version of a table and its manifest relative to the index, by the names of its files."""
    newest: tuple[int, str] | None = None
    for path in (folder / f"{table}.lance" / "_versions").glob("*.manifest"):
        if path.stem.isdigit():
            number = int(path.stem)
            version = 2**64 - 1 - number if number >= 2**63 else number  # named so that the newest sorts first
            if newest is None or version > newest[0]:
                newest = version, path.relative_to(folder).as_posix()
    return newest


def _digest(document: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16).hexdigest()
