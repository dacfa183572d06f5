"""Long work, one job after another in a process of its own: progress, pause, cancel; kept over a restart."""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mova.serve.files.children import START
from mova.serve.problems import Busy, NotFound, Problem
from mova.utils.replacing import replacing

logger = logging.getLogger(__name__)
KEPT = 50
"""Ended jobs that are remembered."""
MOST_WAITING = 100
LOOK = 0.05
SPARED = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
"""A stop may reach all processes of a service (systemd); a job and its decoders end when the service parks it."""
PATIENCE = 10.0
"""Seconds that a cancelled job has to end by itself."""
ENDED = frozenset({"done", "failed", "cancelled"})
CRASHED = "the process ended unexpectedly; what was written before is sound, start it again"


@dataclass(frozen=True)
class Job:
    """A job and where it stands.

    Attributes:
        id: by which clients name it.
        kind: "add" (a folder), or "update" (everything that the index was made from).
        path: the folder; empty for an update.
        state: "queued", "running", "paused", "done", "failed" or "cancelled".
        created, ended: seconds since 1970; 0 if it has not ended.
        file: name of the present file.
        done, total: seconds of video.
        counts: number of files by outcome, at the end.
        failed: name and cause of each file that could not be read, at the end.
        message: why the job failed.
    """

    id: str
    kind: str
    path: str = ""
    state: str = "queued"
    created: float = 0.0
    ended: float = 0.0
    file: str = ""
    done: float = 0.0
    total: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    failed: tuple[tuple[str, str], ...] = ()
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return asdict(self)


class Jobs:
    """Runs jobs in the order in which they were added. It may be used by several threads.

    Args:
        file: where jobs are kept; those that had not ended are run again at `start`.
        index: folder or URI of the index.
        model: name of the model of a new index; None for the default.
    """

    def __init__(self, file: Path, index: str, model: str | None) -> None:
        self._file, self._index, self._model = file, index, model
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._jobs = {job.id: job for job in _read(file)}
        self._process: subprocess.Popen[str] | None = None
        self._current: str | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self.version = 0
        """Grows with every change."""

    def start(self) -> None:
        """Begin to run jobs."""
        with self._lock:
            for job in self._jobs.values():
                if job.state == "running":
                    self._jobs[job.id] = replace(job, state="queued")
            self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop; the running job continues at the next start."""
        with self._wake:
            self._closed = True
            process = self._process
            self._wake.notify_all()
        if process is not None:
            self._end(process)
        if self._thread is not None:
            self._thread.join(timeout=PATIENCE)

    def all(self) -> list[Job]:
        """Return all jobs, the newest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: (job.created, job.id), reverse=True)

    def get(self, name: str) -> Job:
        """Return a job by id.

        Raises:
            NotFound: there is none.
        """
        with self._lock:
            job = self._jobs.get(name)
        if job is None:
            raise NotFound("there is no such job")
        return job

    def idle(self) -> bool:
        """Return whether no job has the index open for writing; wait for one that is just ending."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with self._lock:
                job = self._jobs.get(self._current or "")
                if self._current is None:
                    return True
                ending = job is None or job.state in ENDED
            if not ending or time.monotonic() > deadline:
                return False
            time.sleep(LOOK)

    def add(self, kind: str, path: str = "") -> Job:
        """Add a job; if the same one waits or runs already, return that one.

        Raises:
            Busy: too many wait.
        """
        with self._wake:
            waiting = [job for job in self._jobs.values() if job.state not in ENDED]
            for job in waiting:
                if (job.kind, job.path) == (kind, path):
                    return job
            if len(waiting) >= MOST_WAITING:
                raise Busy("too many jobs wait already")
            job = Job(secrets.token_hex(6), kind, path, created=time.time())
            self._put(job)
            self._wake.notify_all()
            return job

    def pause(self, name: str) -> Job:
        """Stop a job until `resume`; a running one keeps its process and what it has done."""
        with self._wake:
            job = self.get(name)
            if job.state not in {"queued", "running"}:
                raise Problem(f"a job that is {job.state} cannot be paused", 409)
            if name == self._current:
                self._order("pause")
            return self._put(replace(job, state="paused"))

    def resume(self, name: str) -> Job:
        """Continue a paused job."""
        with self._wake:
            job = self.get(name)
            if job.state != "paused":
                raise Problem(f"a job that is {job.state} cannot be resumed", 409)
            if name == self._current:
                self._order("resume")
                return self._put(replace(job, state="running"))
            self._wake.notify_all()
            return self._put(replace(job, state="queued"))

    def cancel(self, name: str) -> Job:
        """End a job; files that it has finished stay in the index."""
        with self._wake:
            job = self.get(name)
            if job.state in ENDED:
                raise Problem(f"a job that is {job.state} cannot be cancelled", 409)
            job = self._put(replace(job, state="cancelled", ended=time.time()))
            process = self._process if name == self._current else None
        if process is not None:
            self._end(process)
        return job

    def remove(self, name: str) -> None:
        """Remove an ended job from the list."""
        with self._lock:
            if self.get(name).state not in ENDED:
                raise Problem("only a job that has ended can be removed; cancel it first", 409)
            if name == self._current:
                raise Problem("this job is just ending; try again", 409)
            del self._jobs[name]
            self._save()

    # --- inside ---

    def _put(self, job: Job, *, save: bool = True) -> Job:
        self._jobs[job.id] = job
        ended = [other for other in self.all() if other.state in ENDED]
        for old in ended[KEPT:]:
            if old.id != self._current:
                del self._jobs[old.id]
        if save:
            self._save()
        else:
            self.version += 1
        return job

    def _save(self) -> None:
        self.version += 1
        try:
            with replacing(self._file) as temporary:
                document = {"jobs": [job.to_json() for job in self.all()]}
                temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
        except OSError as error:
            logger.warning("%s: cannot be written (%s); jobs are lost at a restart", self._file, error.strerror)

    def _loop(self) -> None:
        while True:
            with self._wake:
                while not self._closed and (job := self._next()) is None:
                    self._wake.wait()
                if self._closed:
                    return
                assert job is not None
                self._current = job.id
                self._put(replace(job, state="running", message=""))
            try:
                self._run(job)
            except Exception:  # a defect must not end the queue
                logger.exception("job %s failed", job.id)
                self._change(job.id, state="failed", message=CRASHED, ended=time.time())
            finally:
                with self._lock:
                    self._current = self._process = None
                    self.version += 1

    def _next(self) -> Job | None:
        waiting = [job for job in self._jobs.values() if job.state == "queued"]
        return min(waiting, key=lambda job: (job.created, job.id), default=None)

    def _run(self, job: Job) -> None:
        words = [self._index, self._model or "", *([job.path] if job.kind == "add" else [])]
        code = SPARED + START.format(path=[*sys.path], module="mova.serve.library.ingest_process")
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=dict(os.environ),
            process_group=0,  # Ctrl-C is for the service, which then lets the process end by itself
        )
        with self._lock:
            self._process = process
            if self._closed or self._jobs[job.id].state == "cancelled":
                process.kill()
            elif self._jobs[job.id].state == "paused":
                self._order("pause")
        assert process.stdout is not None
        outcome: dict[str, Any] = {}
        with process:
            for line in process.stdout:
                with suppress(ValueError):
                    event = json.loads(line)
                    if event["event"] == "progress":
                        self._progress(job.id, event)
                    else:
                        outcome = event
        with self._lock:  # now that the process has ended, nothing has the index open for writing
            if outcome:
                self._finish(job.id, outcome)
            ended = self._jobs[job.id].state in ENDED
            if self._closed and not ended:
                state = "paused" if self._jobs[job.id].state == "paused" else "queued"
                self._put(replace(self._jobs[job.id], state=state))
            elif not ended:
                self._change(job.id, state="failed", message=CRASHED, ended=time.time())

    def _progress(self, name: str, event: dict[str, Any]) -> None:
        self._change(name, save=False, file=os.path.basename(event["path"]), done=event["done"], total=event["total"])

    def _finish(self, name: str, event: dict[str, Any]) -> None:
        """Take the last event of a process, a report or an error."""
        if event["event"] == "error":
            self._change(name, state="failed", message=event["message"], ended=time.time())
        else:
            counts = {key: len(event[key]) for key in ("indexed", "unchanged", "moved", "removed", "failed")}
            failed = tuple((os.path.basename(row["path"]), row["cause"]) for row in event["failed"])
            self._change(name, state="done", counts=counts, failed=failed, ended=time.time(), file="")

    def _change(self, name: str, *, save: bool = True, **changes: Any) -> None:
        with self._lock:
            job = self._jobs.get(name)
            if job is not None and job.state not in ENDED:
                self._put(replace(job, **changes), save=save)

    def _order(self, word: str) -> None:
        if self._process is None or self._process.stdin is None:
            return  # it has not started yet, and looks at the state of its job when it does
        with suppress(OSError, ValueError):
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()

    def _end(self, process: subprocess.Popen[str]) -> None:
        """Let a process end by itself, and end it if it does not."""
        assert process.stdin is not None
        with suppress(OSError, ValueError):
            process.stdin.close()
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


def _read(file: Path) -> list[Job]:
    """Return the jobs of an earlier run; none if the file is damaged."""
    known = {item.name for item in fields(Job)}
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        rows = [{key: value for key, value in row.items() if key in known} for row in document["jobs"]]
        return [Job(**{**row, "failed": tuple(map(tuple, row.get("failed", ())))}) for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("%s: cannot be read (%s); earlier jobs are forgotten", file, error)
        return []
