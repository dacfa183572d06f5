"""The only writer of an index that is in no local folder: a lease, in a table of one row beside the index.

Object storage has no locks, but LanceDB commits a version of a table only if nobody else did (on S3 by a conditional
put, `If-None-Match: *`), so a change of the row that names the state it was read in succeeds for one process alone.

- A writer changes the number in the row every `BEAT` seconds. Who finds the row taken watches the number. If it
  changes, the writer is alive and the other one is refused. If it stays for `SILENCE` seconds, or if the writer was a
  process of the same machine that has ended, the lease is taken over. Clocks of different machines are not compared,
  nor are their host names, which containers and images share.
- A writer that was taken for dead finds its row changed and stops with an error. It reads the row before each change of
  the tables, and after each commit of records: if the row is still its own then, the commit came before any takeover,
  so that the next writer sees it. What a change that was under way can leave (frames without a record, or twice) is
  found and removed by the next run (`Store.sweep`).
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mova.errors import MovaError
from mova.search.storage.damage import FOREIGN, guarded
from mova.utils.file_lock import LockedError

TABLE = "writer"
BEAT = 10.0
"""Seconds between two changes of the row."""
SILENCE = 40.0
"""Seconds without a change after which a writer counts as dead."""
TIDY_EVERY = 100
"""Changes of the row after which superseded versions of its table are removed."""
KEEP_VERSIONS = timedelta(minutes=5)
ATTEMPTS = 3
"""Times that a row of nobody is tried: who makes the table late empties a row that was just taken, whose writer finds
that before it changes anything."""
CONFLICT = "Incompatible transaction"
"""In the error of a change beside the making of the table."""

logger = logging.getLogger(__name__)


class Holder(NamedTuple):
    """The row of the table.

    Attributes:
        token: of the writer, another one for each run, after that of its machine (`machine`); empty if nobody writes.
        beat: a number that the writer changes.
        host, process: of the writer.
    """

    token: str = ""
    beat: int = 0
    host: str = ""
    process: int = 0

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}" if self.token else "one that is not known"

    @property
    def has_ended(self) -> bool:
        """Whether it surely does not write any more: nobody, or a process of this machine that is gone."""
        if not self.token:
            return True
        if not machine() or not self.token.startswith(f"{machine()}-"):
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


@cache
def machine() -> str:
    """Return what only processes have in common that see each other's numbers: one start of one system, one container.

    Empty where the system does not say (other systems than Linux): a writer that was killed there is waited for.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return hashlib.blake2b(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode(), digest_size=8).hexdigest()
    except OSError:
        return ""


class Lease:
    """The right to write to an index. Made by `leased`.

    Args:
        connection: of LanceDB.
        uri: of the index, for messages.
    """

    def __init__(self, connection: Any, uri: str) -> None:
        self.uri = uri
        self._connection = connection
        self._own = Holder(f"{machine()}-{uuid.uuid4().hex}", 0, platform.node(), os.getpid())
        self._is_own = f"token = '{self._own.token}'"
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="writer lease", daemon=True)

    @guarded
    def take(self) -> None:
        """Become the only writer.

        Raises:
            LockedError: another process is.
            MovaError: the storage cannot be reached.
        """
        self._table = self._opened()
        holder = self._read()
        if not holder.has_ended:
            holder = self._after_silence(holder)
        for _ in range(ATTEMPTS):
            if self._swap(holder, self._own):
                self._beating.start()
                return
            holder = self._read()
            if not holder.has_ended:
                break
        raise self._refused(holder)

    @guarded
    def require(self) -> None:
        """Raise unless this process is still the only writer.

        Raises:
            LockedError: another one took over.
        """
        holder = self._read()
        if holder.token != self._own.token:
            raise LockedError(
                f"{self.uri}: this process did not answer for {SILENCE:.0f} seconds, and another one ({holder}) writes "
                f"to this index now. What was recorded before is kept; run this again when the other has finished"
            )

    def release(self) -> None:
        """Let others write. If that fails, they wait `SILENCE` seconds."""
        self._ended.set()
        self._beating.join()
        try:
            self._change(self._is_own, Holder())
            self._tidy()
        except FOREIGN as error:
            logger.debug("%s: the lease of its writer was not returned (%s)", self.uri, error)

    def _opened(self) -> Any:
        """Return the table, made if it is not there."""
        try:
            return self._connection.open_table(TABLE)
        except ValueError as error:
            if "not found" not in str(error):
                raise
        try:
            return self._connection.create_table(TABLE, data=[Holder()._asdict()])
        except (ValueError, RuntimeError):  # another process made it just now
            return self._connection.open_table(TABLE)

    def _read(self) -> Holder:
        rows = self._table.to_arrow().to_pylist()
        if len(rows) != 1:
            raise MovaError(
                f"{self.uri}: the table {TABLE} is damaged; if no process writes here, delete {TABLE}.lance"
            )
        return Holder(**rows[0])

    def _after_silence(self, holder: Holder) -> Holder:
        """Return the present holder once it is nobody, or one that does not change its number.

        Raises:
            LockedError: it changes it.
        """
        logger.warning("%s: %s may be writing; waiting up to %.0f seconds for a sign of it", self.uri, holder, SILENCE)
        began = time.monotonic()
        while time.monotonic() - began < SILENCE:
            time.sleep(min(BEAT, SILENCE) / 5)
            present = self._read()
            if present.has_ended:
                return present
            if present != holder:
                raise self._refused(present)
        return holder

    def _refused(self, holder: Holder) -> LockedError:
        return LockedError(f"{self.uri}: another process ({holder}) is writing here; wait until it has finished")

    def _swap(self, expected: Holder, new: Holder) -> bool:
        """Replace the row if it is still as it was read; return whether it was."""
        token = expected.token.replace("'", "''")
        try:
            return self._change(f"token = '{token}' AND beat = {expected.beat}", new)
        except RuntimeError as error:
            if CONFLICT not in str(error):
                raise
            return False

    def _change(self, where: str, new: Holder) -> bool:
        return bool(self._table.update(where=where, values=new._asdict()).rows_updated)

    def _beat(self) -> None:
        """Change the number until the end of the lease, or until another process has taken it over."""
        while not self._ended.wait(BEAT):
            self._own = self._own._replace(beat=self._own.beat + 1)
            try:
                if not self._change(self._is_own, self._own):
                    return
                if self._own.beat % TIDY_EVERY == 0:
                    self._tidy()
            except FOREIGN as error:
                logger.debug("%s: no sign of its writer could be given (%s)", self.uri, error)

    def _tidy(self) -> None:
        self._table.optimize(cleanup_older_than=KEEP_VERSIONS)


@contextmanager
def leased(connection: Any, uri: str) -> Iterator[Lease]:
    """Be the only writer of an index inside the block.

    Args:
        connection: of LanceDB.
        uri: of the index.

    Raises:
        LockedError: (on entering) another process is.
        MovaError: (on entering) the storage cannot be reached.
    """
    lease = Lease(connection, uri)
    lease.take()
    try:
        yield lease
    finally:
        lease.release()
