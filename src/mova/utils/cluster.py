"""Work on a Ray cluster: connect to it, and apply a function to many items on a pool of actors.

Ray Data schedules, and repeats the work of workers and nodes that are lost. What a worker does must therefore be the
same when it is done twice. All nodes must see the files under the same paths, have this version of mova, and find
models under the same names.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mova.errors import MovaError, NotInstalledError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_BLOCKS = 10_000
"""Units of work into which items are divided; each is repeated as a whole if its worker is lost."""


@dataclass(frozen=True)
class Cluster:
    """Where to work.

    Attributes:
        address: of a Ray cluster ("auto": the one that runs here or that RAY_ADDRESS names), or "local" to start Ray on
            this machine for the time of the run.
        model: the name or folder under which every node loads the model, if the work needs one.

    >>> Cluster.of("local", None, "mova-worlds-tiny")
    Cluster(address='local', model='mova-worlds-tiny')
    """

    address: str
    model: str = ""

    @classmethod
    def of(cls, address: str, requested: object, default: str) -> Cluster:
        """Return a cluster that loads the requested model, by name or folder, or the default.

        Raises:
            UsageError: the model is an object, which other nodes cannot load.
        """
        if requested is not None and not isinstance(requested, str):
            raise UsageError("on a cluster every node loads the model: give the model's name or folder")
        return cls(address, for_nodes(requested or default))


def for_nodes(name: str) -> str:
    """Return the name of a model as every node understands it: a folder in full, any other name as it is."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def map_on_cluster(
    items: Sequence[Item], make: Callable[..., Callable[[Item], Result]], cluster: Cluster, **arguments: Any
) -> Iterator[tuple[int, Result]]:
    """Yield the number of each item and its result, each once, in no order.

    Each actor makes one worker, when it gets its first item, and asks it about item after item. There is an actor per
    GPU; without GPUs one per processor.

    Args:
        items: values that can be pickled.
        make: returns a worker, a function of an item; a function of a module, which every node imports. A worker
            returns what failed as a value; what it raises ends the run.
        cluster: where to work.
        arguments: of `make`.

    Raises:
        NotInstalledError: Ray is missing.
        UsageError: the cluster cannot be reached.
        MovaError: a worker raised it; or the cluster failed, and repeating the work elsewhere did not help.
    """
    if not items:
        return
    done: set[int] = set()
    with connected(cluster.address) as ray:
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        most = min(len(items), gpus or max(1, int(resources.get("CPU", 1.0))))
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"number": number, "item": pickle.dumps(item)} for number, item in enumerate(items)]
        results = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map(
            _Worker,
            fn_constructor_kwargs={"make": make, "arguments": arguments},
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
            num_cpus=0 if gpus else 1,
            num_gpus=1 if gpus else 0,
        )
        try:
            for row in results.iter_rows():
                result = pickle.loads(row["result"])
                if isinstance(result, _Raised):
                    raise result.error
                if row["number"] not in done:  # repeated work may arrive twice
                    done.add(row["number"])
                    yield int(row["number"]), result
        except ray.exceptions.RayError as error:
            raise explained(error) from error


@dataclass(frozen=True)
class _Raised:
    """What a worker raised instead of a result."""

    error: MovaError


class _Worker:
    """Applies a worker of `map_on_cluster` to rows; made once per actor."""

    def __init__(self, make: Callable[..., Callable[[Any], Any]], arguments: Mapping[str, Any]) -> None:
        self._make, self._arguments = make, arguments
        self._worker: Callable[[Any], Any] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a row, or our own error that the worker raised; another one is Ray's to report."""
        result: Any
        try:
            if self._worker is None:
                self._worker = self._make(**self._arguments)
            result = self._worker(pickle.loads(row["item"]))
        except MovaError as error:
            result = _Raised(error)
        return {"number": row["number"], "result": pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)}


def explained(error: BaseException) -> MovaError:
    """Return our own error that a worker raised, or one that names the failure of the cluster."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MovaError):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return MovaError(f"the Ray cluster failed ({first}). What was finished is kept: run this again to do the rest")


@contextmanager
def connected(address: str) -> Iterator[Any]:
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
