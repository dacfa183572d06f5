"""The workspace of an expansion: a SQLite file that holds rows by granularity, so that memory holds few of them.

It also makes an expansion resumable. A granularity counts once it is complete; an unfinished one is made anew. Answers
of language models are kept one by one, because they may have cost hours. A file of another expansion (other manifest,
other operations) keeps those answers and loses its rows.
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

PAGE = 2000
"""Rows read or written at once."""
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


class Entry(NamedTuple):
    """A row as it is kept: `source` and `start` are what it is grouped and sorted by, `line` its JSON."""

    level: str
    id: str
    split: str
    source: str
    start: float
    line: str


class Store:
    """One expansion's file; use as a context manager.

    Args:
        path: of the file, made where it is not there.
        fingerprint: of all that decides the rows.

    Raises:
        DataError: another process works in it, it is no such file, or (on leaving) the disk was full or broken.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path, timeout=1.0)
            for setting in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL", "cache_size=-32768"):
                self._database.execute(f"PRAGMA {setting}")
            self._database.executescript(_TABLES)
            self._adopt(fingerprint)
        except sqlite3.Error as error:
            raise DataError(
                f"{path}: cannot be worked in ({error}); if no other `mova data expand` runs there, delete it"
            ) from error

    def __enter__(self) -> Store:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._database.close()
        if isinstance(error, sqlite3.Error):
            raise DataError(f"{self.path}: {error}; what is finished is kept, so run the same again") from error

    def _adopt(self, fingerprint: str) -> None:
        found = self._database.execute("SELECT fingerprint FROM run").fetchone()
        if found is None or found[0] != fingerprint:
            with self._database:
                for table in ("rows", "done", "origins", "run"):
                    self._database.execute(f"DELETE FROM {table}")
                self._database.execute("INSERT INTO run VALUES (?)", (fingerprint,))

    def delete(self) -> None:
        """Close and remove the file."""
        self._database.close()
        delete_workspace(self.path)

    def finished(self, step: str) -> dict[str, Any] | None:
        """What a finished step left; None where it is not finished, and then no row of it or of later ones is there."""
        found = self._database.execute("SELECT document FROM done WHERE step = ?", (step,)).fetchone()
        if found is not None:
            return dict(json.loads(found[0]))
        with self._database:
            last = self._database.execute("SELECT MAX(last) FROM done").fetchone()[0]
            self._database.execute("DELETE FROM rows WHERE number > ?", (last or 0,))
        return None

    def finish(self, step: str, document: dict[str, Any]) -> None:
        """Remember that a step is complete, with what is to be known of it."""
        with self._database:
            last = self._database.execute("SELECT MAX(number) FROM rows").fetchone()[0]
            self._database.execute("INSERT INTO done VALUES (?, ?, ?)", (step, json.dumps(document), last or 0))

    def add(self, entries: Iterable[Entry]) -> None:
        """Append rows in order.

        Raises:
            DataError: an id is there already, or a text cannot be written as UTF-8.
        """
        for page in pages(entries, PAGE):
            try:
                with self._database:
                    self._database.executemany(
                        "INSERT INTO rows (level, id, split, source, start, line) VALUES (?, ?, ?, ?, ?, ?)", page
                    )
            except sqlite3.IntegrityError:
                raise DataError(f"id {self._twice(page)!r} stands twice; ids must differ") from None
            except UnicodeEncodeError as error:
                raise DataError(f"a row holds text that is no Unicode: ...{_around(error)}...") from error

    def _twice(self, page: Sequence[Entry]) -> str:
        seen: set[str] = set()
        for entry in page:
            if entry.id in seen or self.line_of(entry.id) is not None:
                return entry.id
            seen.add(entry.id)
        raise AssertionError("the database refused rows whose ids differ")

    def line_of(self, id: str) -> str | None:
        """The row of an id."""
        found = self._database.execute("SELECT line FROM rows WHERE id = ?", (id,)).fetchone()
        return None if found is None else str(found[0])

    def note_origins(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Remember (source video, split)."""
        with self._database:
            self._database.executemany("INSERT OR IGNORE INTO origins VALUES (?, ?)", pairs)

    def shared_origins(self, most: int) -> tuple[int, list[tuple[str, str]]]:
        """How many source videos are in several splits, and the first of them with their splits."""
        several = "FROM origins GROUP BY source HAVING COUNT(*) > 1"
        count = self._database.execute(f"SELECT COUNT(*) FROM (SELECT source {several})").fetchone()[0]
        found = self._database.execute(
            f"SELECT source, GROUP_CONCAT(split, ', ') {several} ORDER BY source LIMIT ?", (most,)
        )
        return count, [(source, splits) for source, splits in found]

    def stream(self, level: str, order: str = "manifest", seed: int = 0) -> Iterator[tuple[str, str, str]]:
        """(split, source, line) of all rows of a level; rows may be added meanwhile.

        Args:
            level: granularity.
            order: "manifest"; "source" (by split, source video, time); or "random" (by split, then as `seed` draws).
            seed: of the draw, which depends on it and on the ids alone.
        """
        self._database.create_function("draw", 1, _draw(seed), deterministic=True)
        with self._database:
            self._database.execute("DROP TABLE IF EXISTS temp.queue")
            self._database.execute("CREATE TEMP TABLE queue (place INTEGER PRIMARY KEY, number INTEGER)")
            self._database.execute(
                f"INSERT INTO queue (number) SELECT number FROM rows WHERE level = ? ORDER BY {_ORDERS[order]}",
                (level,),
            )
        place = 0
        while page := self._database.execute(
            "SELECT split, source, line FROM queue JOIN rows USING (number) "
            "WHERE place > ? AND place <= ? ORDER BY place",
            (place, place + PAGE),
        ).fetchall():
            yield from page
            place += PAGE

    def sample(self, level: str, count: int) -> list[str]:
        """Rows of a level drawn by their ids, at most `count`."""
        self._database.create_function("draw", 1, _draw(0), deterministic=True)
        found = self._database.execute(
            "SELECT line FROM rows WHERE level = ? ORDER BY draw(id), number LIMIT ?", (level, count)
        )
        return [line for (line,) in found]

    def lines(self, levels: Sequence[str]) -> Iterator[str]:
        """All rows of some levels, in the order in which they were added."""
        marks = ", ".join("?" * len(levels))
        yield from (
            line
            for (line,) in self._database.execute(
                f"SELECT line FROM rows WHERE level IN ({marks}) ORDER BY number", tuple(levels)
            )
        )

    def remembered(self, key: bytes) -> Any:
        """What was answered under a key; None where nothing was."""
        found = self._database.execute("SELECT answer FROM summaries WHERE key = ?", (key,)).fetchone()
        return None if found is None else json.loads(found[0])

    def remember(self, answers: Iterable[tuple[bytes, Any]]) -> None:
        """Keep answers, even if this run is stopped."""
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO summaries VALUES (?, ?)", [(key, json.dumps(answer)) for key, answer in answers]
            )


def delete_workspace(path: Path) -> None:
    """Remove a file that no process has open, and what SQLite keeps beside it."""
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def pages(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of `size`; the last may be shorter."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def _around(error: UnicodeEncodeError) -> str:
    return ascii(error.object[max(0, error.start - 40) : error.end + 10])[1:-1]


def _draw(seed: int) -> Callable[[str], bytes]:
    salt = str(seed).encode()[:16]
    return lambda id: hashlib.blake2b(id.encode(), digest_size=8, salt=salt).digest()
