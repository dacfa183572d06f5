"""Processes that do one task for the service and are ended if it takes too long."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mova.errors import MovaError, VideoError
from mova.serve.problems import Busy

AT_ONCE = 2
WAIT = 60.0
"""Seconds that a request may wait for its turn."""
CAUSE_CHARACTERS = 300
UNREADABLE = 3
"""Exit code of a process that could not decode its video. Python itself ends with 1 and 2."""
CRASHED = "the process that should make this failed; the log of the service says why"
START = "import sys; sys.path[:] = {path!r}; from {module} import main; sys.exit(main(sys.argv[1:]))"


@dataclass(frozen=True)
class Failure:
    """Why a process did not do its task.

    Attributes:
        cause: for a person.
        status: of HTTP: 404 if the video cannot be decoded, else 500.
    """

    cause: str
    status: int


class Children:
    """Runs `main(words)` of modules in processes of their own, a few at once. It may be used by several threads."""

    def __init__(self) -> None:
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """End the running processes."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            process.kill()

    def run(self, module: str, words: Sequence[str], limit: float, data: bytes = b"") -> Failure | None:
        """Run a module's `main`; return why it failed, or None. Its standard error is that of the service.

        Args:
            module: its `main` returns 0, or prints a cause and returns another number (`report_failure`).
            words: its arguments.
            limit: seconds after which it is ended.
            data: sent to its standard input.

        Raises:
            Busy: it took too long, too many wait, or the service is stopping.
        """
        if not self._turns.acquire(timeout=WAIT):
            raise Busy("too much is asked for at once; try again")
        try:
            process = self._start(module, words)
            try:
                output, _ = process.communicate(data, timeout=limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise Busy("this takes too long and was stopped") from None
            finally:
                with self._lock:
                    self._running.discard(process)
        finally:
            self._turns.release()
        if process.returncode == 0:
            return None
        cause = output.decode(errors="replace").strip()[-CAUSE_CHARACTERS:]
        return Failure(cause or CRASHED, 404 if process.returncode == UNREADABLE else 500)

    def _start(self, module: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise Busy("the service is stopping")
            process = subprocess.Popen(
                [sys.executable, "-c", START.format(path=[*sys.path], module=module), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                process_group=0,  # Ctrl-C is for the service, which then ends the process
            )
            self._running.add(process)
            return process


def report_failure(task: Callable[[], object]) -> int:
    """Run the task of a child process; print the cause if it fails, and return the exit code.

    Any other exception is a defect: its traceback goes to the log of the service.
    """
    try:
        task()
    except VideoError as error:
        print(error.cause)  # noqa: T201 - the parent reads it
        return UNREADABLE
    except MovaError as error:
        print(error)  # noqa: T201 - the parent reads it
        return 1
    return 0
