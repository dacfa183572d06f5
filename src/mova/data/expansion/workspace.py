"""The workspace of an expansion: a SQLite file with the rows of every granularity, so that memory stays bounded.

It also makes an expansion resumable. A granularity is used once it is complete; an unfinished one is made again.
Answers of language models are cached one by one, because they may have taken hours. If the file belongs to another
expansion (another manifest or other operations), its rows are deleted and its cached answers kept.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mova.errors import DataError

Item = TypeVar("Item")

PAGE_ROWS = 2000
"""Rows read or written at a time."""
_TABLES = """
CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, level TEXT NOT NULL, id TEXT NOT NULL, split TEXT NOT NULL,
    source TEXT NOT NULL, start REAL NOT NULL, line TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS ids ON rows (id);
CREATE TABLE IF NOT EXISTS done (step TEXT PRIMARY KEY, document TEXT NOT NULL, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS origins (source TEXT, split TEXT, PRIMARY KEY (source, split)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS summaries (key BLOB PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS run (fingerprint TEXT NOT NULL);
"""
_ORDERS = {
    "manifest": "number",
    "source": "split, source, start, number",
    "random": "split, draw(id), number",
}


class StoredRow(NamedTuple):
    """A row of the workspace: rows are grouped by `source` and sorted by `start`; `line` is the row's JSON."""

    level: str
    id: str
    split: str
    source: str
    start: float
    line: str


class Workspace:
    """The workspace file of one expansion; a context manager.

    Args:
        path: the file, created if it does not exist.
        fingerprint: hash of everything that determines the rows.

    Raises:
        DataError: another process uses the file, it is not a workspace, or (on exit) the disk was full or failed.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path, timeout=1.0)
            for setting in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL", "cache_size=-32768"):
                self._database.execute(f"PRAGMA {setting}")
            self._database.executescript(_TABLES)
            self._reset_if_other(fingerprint)
        except sqlite3.Error as error:
            raise DataError(
                f"{path}: cannot be used as a workspace ({error}); if no other `mova data expand` uses it, delete it"
            ) from error

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._database.close()
        if isinstance(error, sqlite3.Error):
            raise DataError(f"{self.path}: {error}; finished steps are kept: run the same command again") from error

    def _reset_if_other(self, fingerprint: str) -> None:
        row = self._database.execute("SELECT fingerprint FROM run").fetchone()
        if row is None or row[0] != fingerprint:
            with self._database:
                for table in ("rows", "done", "origins", "run"):
                    self._database.execute(f"DELETE FROM {table}")
                self._database.execute("INSERT INTO run VALUES (?)", (fingerprint,))

    def delete(self) -> None:
        """Close and remove the file."""
        self._database.close()
        delete_workspace(self.path)

    def find_result(self, step: str) -> dict[str, Any] | None:
        """Return the result of a finished step; None if it is not finished, after deleting any rows it left."""
        row = self._database.execute("SELECT document FROM done WHERE step = ?", (step,)).fetchone()
        if row is not None:
            return dict(json.loads(row[0]))
        with self._database:
            last = self._database.execute("SELECT MAX(last) FROM done").fetchone()[0]
            self._database.execute("DELETE FROM rows WHERE number > ?", (last or 0,))
        return None

    def finish(self, step: str, document: dict[str, Any]) -> None:
        """Mark a step as complete and store its result."""
        with self._database:
            last = self._database.execute("SELECT MAX(number) FROM rows").fetchone()[0]
            self._database.execute("INSERT INTO done VALUES (?, ?, ?)", (step, json.dumps(document), last or 0))

    def add(self, entries: Iterable[StoredRow]) -> None:
        """Append rows in order.

        Raises:
            DataError: an id already exists, or a text cannot be encoded as UTF-8.
        """
        for page in pages(entries, PAGE_ROWS):
            try:
                with self._database:
                    self._database.executemany(
                        "INSERT INTO rows (level, id, split, source, start, line) VALUES (?, ?, ?, ?, ?, ?)", page
                    )
            except sqlite3.IntegrityError:
                raise DataError(f"duplicate id {self._duplicate_id(page)!r}; ids must be unique") from None
            except UnicodeEncodeError as error:
                raise DataError(f"a row has text that is not valid Unicode: ...{_context(error)}...") from error

    def _duplicate_id(self, page: Sequence[StoredRow]) -> str:
        seen: set[str] = set()
        for entry in page:
            if entry.id in seen or self.find_line(entry.id) is not None:
                return entry.id
            seen.add(entry.id)
        raise AssertionError("the database rejected rows with unique ids")

    def find_line(self, id: str) -> str | None:
        """Return the JSON line of the row with an id; None if there is none."""
        row = self._database.execute("SELECT line FROM rows WHERE id = ?", (id,)).fetchone()
        return None if row is None else str(row[0])

    def add_origins(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Record pairs of (source video, split)."""
        with self._database:
            self._database.executemany("INSERT OR IGNORE INTO origins VALUES (?, ?)", pairs)

    def shared_origins(self, limit: int) -> tuple[int, list[tuple[str, str]]]:
        """Return the number of source videos in several splits, and the first `limit` of them with their splits."""
        several = "FROM origins GROUP BY source HAVING COUNT(*) > 1"
        count = self._database.execute(f"SELECT COUNT(*) FROM (SELECT source {several})").fetchone()[0]
        first = self._database.execute(
            f"SELECT source, GROUP_CONCAT(split, ', ') {several} ORDER BY source LIMIT ?", (limit,)
        )
        return count, [(source, splits) for source, splits in first]

    def stream(self, level: str, order: str = "manifest", seed: int = 0) -> Iterator[tuple[str, str, str]]:
        """Yield (split, source, line) of all rows of a level; rows may be added during iteration.

        Args:
            level: granularity.
            order: "manifest"; "source" (by split, source video, time); or "random" (by split, then shuffled).
            seed: seed of the shuffle, which depends only on it and on the ids.
        """
        self._database.create_function("draw", 1, _draw(seed), deterministic=True)
        with self._database:
            self._database.execute("DROP TABLE IF EXISTS temp.queue")
            self._database.execute("CREATE TEMP TABLE queue (position INTEGER PRIMARY KEY, number INTEGER)")
            self._database.execute(
                f"INSERT INTO queue (number) SELECT number FROM rows WHERE level = ? ORDER BY {_ORDERS[order]}",
                (level,),
            )
        position = 0
        while page := self._database.execute(
            "SELECT split, source, line FROM queue JOIN rows USING (number) "
            "WHERE position > ? AND position <= ? ORDER BY position",
            (position, position + PAGE_ROWS),
        ).fetchall():
            yield from page
            position += PAGE_ROWS

    def sample(self, level: str, count: int) -> list[str]:
        """Return at most `count` rows of a level, drawn by a hash of their ids."""
        self._database.create_function("draw", 1, _draw(0), deterministic=True)
        rows = self._database.execute(
            "SELECT line FROM rows WHERE level = ? ORDER BY draw(id), number LIMIT ?", (level, count)
        )
        return [line for (line,) in rows]

    def lines(self, levels: Sequence[str]) -> Iterator[str]:
        """Yield all rows of the given levels, in the order in which they were added."""
        marks = ", ".join("?" * len(levels))
        yield from (
            line
            for (line,) in self._database.execute(
                f"SELECT line FROM rows WHERE level IN ({marks}) ORDER BY number", tuple(levels)
            )
        )

    def cached_answer(self, key: bytes) -> Any:
        """Return the cached answer under a key; None if there is none."""
        row = self._database.execute("SELECT answer FROM summaries WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def cache_answers(self, answers: Iterable[tuple[bytes, Any]]) -> None:
        """Cache answers; they survive if this run is stopped."""
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO summaries VALUES (?, ?)", [(key, json.dumps(answer)) for key, answer in answers]
            )


def delete_workspace(path: Path) -> None:
    """Delete a workspace that no process has open, with SQLite's side files."""
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def pages(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in lists of `size`; the last may be shorter.

    >>> list(pages("abc", 2))
    [['a', 'b'], ['c']]
    """
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def _context(error: UnicodeEncodeError) -> str:
    return ascii(error.object[max(0, error.start - 40) : error.end + 10])[1:-1]


def _draw(seed: int) -> Callable[[str], bytes]:
    salt = str(seed).encode()[:16]
    return lambda id: hashlib.blake2b(id.encode(), digest_size=8, salt=salt).digest()
