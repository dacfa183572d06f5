"""Read and encode files on a Ray cluster: workers decode, a pool of actors encodes, this process writes.

Ray Data schedules, bounds the memory of decoded frames (back-pressure), and repeats the work of workers and nodes that
are lost. Where there are no GPUs, it joins both stages: each worker decodes and encodes. For an encoder of windows of
several frames, the actors do both. A file is stored once all of it has arrived, so rows and report are those of
indexing in one process.

All nodes must see the files under the same paths (or have the credentials of the object storage that holds them), have
this version of mova, and find the model under the same name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mova.search.ingest.file_reader import Failed, FileTask, Known, look_at_file
from mova.search.ingest.here import changed_files
from mova.search.ingest.plan import IngestPlan
from mova.search.ingest.stages import (
    Complete,
    Encoded,
    EncodeFile,
    EncodeWindow,
    Message,
    Settings,
    decode_file,
    pack,
    unpack,
)
from mova.search.ingest.writer import IndexWriter
from mova.search.storage.records import EXACT
from mova.utils.cluster import MOST_BLOCKS, Attempts, Cluster, Raised, connected, explained

BLOCK_BYTES = 64 << 20
"""Bytes of decoded frames that a worker hands on at once."""


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
        window=plan.window,
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
            self._writer.add(task, (message.part for message in parts))


def _messages(tasks: Sequence[FileTask], settings: Settings, cluster: Cluster) -> Iterator[Message]:
    """Yield what the workers send, in no order."""
    with connected(cluster.address) as ray:
        resources = ray.cluster_resources()
        processors, gpus = resources.get("CPU", 1.0), int(resources.get("GPU", 0))
        share = min(1.0, processors / 2)  # one processor must serve a decoder and an encoder
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = BLOCK_BYTES
        rows = ray.data.from_items(list(map(pack, tasks)), override_num_blocks=min(len(tasks), MOST_BLOCKS))
        whole_files = not settings.window.is_picture
        most, needs = encoders(processors, gpus, share, whole_files=whole_files)
        common = {"settings": settings, "attempts": Attempts.start(ray)}
        actors: dict[str, Any] = {
            "fn_constructor_kwargs": common,
            "compute": ray.data.ActorPoolStrategy(min_size=1, max_size=most),
            **needs,
        }
        if whole_files:
            encoded = rows.flat_map(EncodeFile, **actors)
        else:
            decoded = rows.flat_map(decode_file, fn_kwargs=common, num_cpus=share)
            encoded = decoded.map(EncodeWindow, **actors)
        try:
            for message in map(unpack, encoded.iter_rows()):
                if isinstance(message, Raised):
                    raise message.error
                yield message
        except ray.exceptions.RayError as error:
            raise explained(error) from error


def encoders(processors: float, gpus: int, share: float, *, whole_files: bool) -> tuple[int, dict[str, float]]:
    """Return the greatest number of encoding actors, and what each of them reserves.

    Actors that read whole files decode them, too, so each needs a processor beside its GPU.

    Args:
        processors, gpus: of the cluster.
        share: of a processor, for an actor that encodes without a GPU what others decode.
        whole_files: whether actors decode and encode.

    >>> encoders(16.0, 4, 1.0, whole_files=True)
    (4, {'num_cpus': 1, 'num_gpus': 1})
    """
    if whole_files:
        most = min(gpus or int(processors), int(processors))
        return max(1, most), {"num_cpus": 1, "num_gpus": 1 if gpus else 0}
    return gpus or max(1, int(processors)), {"num_cpus": 0 if gpus else share, "num_gpus": 1 if gpus else 0}
