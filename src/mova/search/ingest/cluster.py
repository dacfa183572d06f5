"""Read and encode files on a Ray cluster: workers decode, a pool of actors encodes, this process writes.

Ray Data schedules, bounds the memory of decoded frames (back-pressure), and repeats the work of workers and nodes that
are lost. Where there are no GPUs, it joins both stages: each worker decodes and encodes. A file is stored once all of
it has arrived, so rows and report are those of indexing in one process.

All nodes must see the files under the same paths (or have the credentials of the object storage that holds them), have
this version of mova, and find the model under the same name.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova.errors import MovaError, NotInstalledError, UsageError
from mova.search.ingest.file_reader import Failed, FileTask, Known, look_at_file
from mova.search.ingest.here import changed_files
from mova.search.ingest.plan import IngestPlan
from mova.search.ingest.stages import Complete, Encoded, EncodeWindow, Message, Settings, decode_file, pack, unpack
from mova.search.ingest.writer import IndexWriter, Part
from mova.search.storage.records import EXACT

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder

BLOCK_BYTES = 64 << 20
"""Bytes of decoded frames that a worker hands on at once."""
MOST_BLOCKS = 10_000
"""Units of work into which the files are divided; each is repeated as a whole if its worker is lost."""


@dataclass(frozen=True)
class Cluster:
    """Where to decode and encode.

    Attributes:
        address: of a Ray cluster ("auto": the one that runs here or that RAY_ADDRESS names), or "local" to start Ray on
            this machine for the time of the run.
        model: the name or folder under which every node loads the model.

    >>> Cluster.of("local", None, "mova-worlds-tiny")
    Cluster(address='local', model='mova-worlds-tiny')
    """

    address: str
    model: str

    @classmethod
    def of(cls, address: str, requested: DualEncoder | str | None, default: str) -> Cluster:
        """Return a cluster that loads the requested model of an index, or its default.

        Raises:
            UsageError: the model is an object, which other nodes cannot load.
        """
        if requested is not None and not isinstance(requested, str):
            raise UsageError("on a cluster every node loads the model: open the index with the model's name or folder")
        name = requested or default
        return cls(address, str(Path(name).resolve()) if Path(name).is_dir() else name)


def read_on_cluster(
    files: Sequence[str], plan: IngestPlan, writer: IndexWriter, cluster: Cluster, time_limit: float
) -> None:
    """Bring files into the index.

    Args:
        files: absolute paths.
        plan: the model and settings.
        writer: takes what was read.
        cluster: where to work.
        time_limit: seconds after which a file whose decoding stands still counts as broken.

    Raises:
        NotInstalledError: Ray is missing.
        UsageError: the cluster cannot be reached.
        ModelError: the model of a node cannot be loaded, is another one, or its vectors are not finite.
        MovaError: the cluster failed, and what it does by itself (repeat work, elsewhere) did not help.
    """
    tasks = changed_files(files, writer, partial(look_at_file, objects=plan.listing.objects))
    writer.expect(tasks)
    exact = plan.meta.sampling == EXACT
    known = frozenset(writer.contents)
    meta = plan.meta
    settings = Settings(
        *(cluster.model, meta.fingerprint, meta.frame_rate, plan.model.context, exact, time_limit, known),
        shots=meta.novelty > 0,
    )
    if tasks:
        arrivals = Arrivals(writer)
        for message in _messages(tasks, settings, cluster):
            arrivals.take(message)
    writer.flush()


@dataclass
class _Parts:
    """The parts of a file that have arrived, in any order."""

    arrived: dict[int, Encoded] = field(default_factory=dict)
    expected: int | None = None


class Arrivals:
    """Gathers the parts of files, and writes each file once: work that was repeated may arrive twice."""

    def __init__(self, writer: IndexWriter) -> None:
        self._writer = writer
        self._open: dict[str, _Parts] = {}
        self._done: set[str] = set()

    def take(self, message: Message) -> None:
        """Take what a worker sent."""
        task = message.task
        if task.path in self._done:
            return
        if isinstance(message, Failed):
            self._close(task)
            self._writer.fail(task, message.cause)
            return
        if isinstance(message, Known):
            self._close(task)
            self._writer.add_known(task)
            return
        parts = self._open.setdefault(task.path, _Parts())
        if isinstance(message, Encoded):
            parts.arrived[message.number] = message
        elif isinstance(message, Complete):
            parts.expected = message.parts
        if len(parts.arrived) == parts.expected:
            self._close(task)
            self._write(task, [parts.arrived[number] for number in sorted(parts.arrived)])

    def _close(self, task: FileTask) -> None:
        self._open.pop(task.path, None)
        self._done.add(task.path)
        self._writer.warn_if_unread(task)

    def _write(self, task: FileTask, parts: Sequence[Encoded]) -> None:
        if task.content in self._writer.contents:  # two files of equal content, decoded at the same time
            self._writer.add_known(task)
        else:
            self._writer.add(task, (Part(part.times, part.vectors, begins=part.begins) for part in parts))


def _messages(tasks: Sequence[FileTask], settings: Settings, cluster: Cluster) -> Iterator[Message]:
    """Yield what the workers send, in no order."""
    with _connected(cluster.address) as ray:
        resources = ray.cluster_resources()
        processors, gpus = resources.get("CPU", 1.0), int(resources.get("GPU", 0))
        share = min(1.0, processors / 2)  # one processor must serve a decoder and an encoder
        most = gpus or max(1, int(processors))  # encoding actors
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = BLOCK_BYTES
        rows = ray.data.from_items(list(map(pack, tasks)), override_num_blocks=min(len(tasks), MOST_BLOCKS))
        decoded = rows.flat_map(decode_file, fn_kwargs={"settings": settings}, num_cpus=share)
        encoded = decoded.map(
            EncodeWindow,
            fn_constructor_kwargs={"settings": settings},
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
            num_cpus=0 if gpus else share,
            num_gpus=1 if gpus else 0,
        )
        try:
            yield from map(unpack, encoded.iter_rows())
        except ray.exceptions.RayError as error:
            raise _explained(error) from error


def _explained(error: BaseException) -> MovaError:
    """Return our own error that a worker raised, or one that names the failure of the cluster."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MovaError):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return MovaError(
        f"the Ray cluster failed ({first}). Files that were finished are in the index: run this again to read the rest"
    )


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine; a connection that exists is used and stays."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to others
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise NotInstalledError("--ray needs Ray, which is not installed; pip install 'mova[scale]'") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield ray
        return
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "lancedb fork support")  # the children do not use it
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        hint = "start one with `ray start --head`, or use --ray local"
        raise UsageError(f"--ray {address}: no Ray cluster can be reached there; {hint} ({error})") from error
    try:
        yield ray
    finally:
        ray.shutdown()
