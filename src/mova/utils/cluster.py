"""Work on a Ray cluster: connect to it, and apply a function to many items on a pool of actors.

Ray Data schedules, and repeats the work of workers and nodes that are lost. What a worker does must therefore be the
same when it is done twice. Work whose worker dies each time is given up, so that the rest is done. All nodes must see
the files under the same paths, have this version of mova, and find models under the same names.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import sys
import traceback
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
MOST_ATTEMPTS = 3
"""Workers or nodes that may die while they do a unit of work, before it is given up."""
HOPELESS = 3
"""Units of work that may be given up before any other is done."""
LOST = "each worker that read it died (a crash of a library, or too little memory)"
"""Why an item has no result."""
RESUME = "What was finished is kept: run this again to do the rest"
TOKEN_FILE = "~/.ray/auth_token"
"""Where Ray keeps the token of its clusters."""
ANSWER_SECONDS = 120.0
"""Seconds in which a worker must start and answer."""
COLOR = re.compile("\x1b\\[[0-9;]*m")


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
    items: Sequence[Item],
    make: Callable[..., Callable[[Item], Result]],
    cluster: Cluster,
    lost: Callable[[Item], Result],
    **arguments: Any,
) -> Iterator[tuple[int, Result]]:
    """Yield the number of each item and its result, each once, in no order.

    Each actor makes one worker, when it gets its first item, and asks it about item after item. There is an actor per
    GPU; without GPUs one per processor.

    Args:
        items: values that can be pickled.
        make: returns a worker, a function of an item; a function of a module, which every node imports. A worker
            returns what failed as a value; what it raises ends the run.
        cluster: where to work.
        lost: returns the result of an item whose workers die each time; `LOST` says so.
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
            fn_constructor_kwargs={"make": make, "arguments": arguments, "attempts": Attempts.start(ray)},
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
            num_cpus=0 if gpus else 1,
            num_gpus=1 if gpus else 0,
        )
        try:
            for row in results.iter_rows():
                number, result = row["number"], pickle.loads(row["result"])
                if isinstance(result, Raised):
                    raise result.error
                if number not in done:  # repeated work may arrive twice
                    done.add(number)
                    yield int(number), lost(items[number]) if isinstance(result, _Lost) else result
        except ray.exceptions.RayError as error:
            raise explained(error) from error


@dataclass(frozen=True)
class Raised:
    """What a worker raised instead of a result."""

    error: MovaError

    @classmethod
    def of(cls, error: Exception) -> Raised:
        """Return our own error, or one that names another's type and text; `__notes__` has its traceback."""
        if isinstance(error, MovaError):
            return cls(error)
        made = MovaError(f"a worker of the Ray cluster failed ({type(error).__name__}: {_first_line(error)}). {RESUME}")
        made.add_note(traceback.format_exc())
        return cls(made)


class _Lost:
    """In place of the result of an item whose workers died each time."""


class _Worker:
    """Applies a worker of `map_on_cluster` to rows; made once per actor."""

    def __init__(
        self, make: Callable[..., Callable[[Any], Any]], arguments: Mapping[str, Any], attempts: Attempts
    ) -> None:
        self._make, self._arguments, self._attempts = make, arguments, attempts
        self._worker: Callable[[Any], Any] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a row, or what the worker raised, which is raised where the run was started."""
        result: Any
        try:
            if self._attempts.begin(row["number"]):
                if self._worker is None:
                    self._worker = self._make(**self._arguments)
                result = self._worker(pickle.loads(row["item"]))
                self._attempts.end(row["number"])
            else:
                result = _Lost()
        except Exception as error:  # noqa: BLE001 - raised where the run was started
            result = Raised.of(error)
        return {"number": row["number"], "result": pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)}


class Counter:
    """Counts how often each unit of work was begun and not ended. An actor, since workers forget it when they die."""

    def __init__(self) -> None:
        self._begun: dict[Any, int] = {}
        self._lost = self._ended = 0

    def begin(self, unit: Any) -> str:
        """Return "go"; "lost" if too many workers died of a unit; "hopeless" if they die of every unit.

        >>> counter = Counter()
        >>> [counter.begin("a.mp4") for _ in range(4)]
        ['go', 'go', 'go', 'lost']
        """
        self._begun[unit] = self._begun.get(unit, 0) + 1
        if self._begun[unit] <= MOST_ATTEMPTS:
            return "go"
        self._lost += 1
        return "lost" if self._ended or self._lost < HOPELESS else "hopeless"

    def end(self, unit: Any) -> None:
        """Forget a unit that is done; it may be needed again, if the node that holds its result is lost."""
        self._begun.pop(unit, None)
        self._ended += 1


@dataclass(frozen=True)
class Attempts:
    """Asks the `Counter` of a run. Ray itself repeats the work of a worker that died, without end."""

    counter: Any

    @classmethod
    def start(cls, ray: Any) -> Attempts:
        """Return the attempts of a new run, counted on the node that starts it."""
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
        return cls(ray.remote(Counter).options(**options).remote())

    def begin(self, unit: Any) -> bool:
        """Return whether to work on a unit: not if `MOST_ATTEMPTS` workers died of it.

        Raises:
            MovaError: they die of every unit.
        """
        import ray

        answer = ray.get(self.counter.begin.remote(unit))
        if answer == "hopeless":
            raise MovaError(
                f"the workers of the Ray cluster die of everything that they read, {MOST_ATTEMPTS} times each. Do the "
                "nodes have enough memory, and processors that can run all libraries? Ray's logs say more"
            )
        return bool(answer == "go")

    def end(self, unit: Any) -> None:
        """Take note that a unit is done."""
        self.counter.end.remote(unit)


def explained(error: BaseException) -> MovaError:
    """Return our own error that a worker raised, or one that names what failed, without the colors of a terminal."""
    seen, last = error, error
    while True:
        inner = getattr(seen, "cause", None)  # first: an error of Ray may have our class, and a traceback as its text
        inner = inner if isinstance(inner, BaseException) else seen.__cause__
        if inner is None or type(inner).__name__ == "SystemException":
            break
        seen = last = inner
    if isinstance(last, MovaError):
        return last
    name = "" if type(last).__module__.startswith("ray.") else f"{type(last).__name__}: "
    return MovaError(f"the Ray cluster failed ({name}{_first_line(last)}). {RESUME}")


def _first_line(error: BaseException) -> str:
    lines = COLOR.sub("", str(error)).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def needs_token(address: str) -> bool:
    """Return whether to show a token to a cluster: Ray itself does so only for a cluster that it finds ("auto").

    >>> needs_token("auto"), needs_token("local")
    (False, False)
    """
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if named in ("", "auto", "local") or "RAY_AUTH_MODE" in os.environ:
        return False
    file = os.environ.get("RAY_AUTH_TOKEN_PATH") or TOKEN_FILE
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(file).expanduser().is_file()


def _hint(address: str) -> str:
    if address in ("auto", "local"):
        return "start one with `ray start --head`, or use --ray local"
    return (
        "is `ray start --head` running there? A cluster that asks for a token needs the same one here: copy its "
        f"{TOKEN_FILE} to this machine, or set RAY_AUTH_TOKEN; RAY_AUTH_MODE=disabled is for a cluster without one"
    )


def _require_answer(ray: Any, address: str) -> None:
    """Raise if no actor can answer a process that asks for tokens: one of a cluster without them dies."""
    try:
        ray.get(ray.remote(Counter).options(num_cpus=0).remote().begin.remote(0), timeout=ANSWER_SECONDS)
    except (ray.exceptions.RayError, TimeoutError) as error:
        raise UsageError(
            f"--ray {address}: its workers cannot answer here, since a token of Ray is used ({TOKEN_FILE}, or of the "
            "environment). If the cluster was started without one, set RAY_AUTH_MODE=disabled and run this again"
        ) from error


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine; a connection that exists is used and stays."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to others
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # its messages would be printed among results
    loaded = sys.modules.get("ray")
    shows_token = not (loaded and loaded.is_initialized()) and needs_token(address)
    if shows_token:
        os.environ["RAY_AUTH_MODE"] = "token"  # before Ray is imported, which reads it
    try:
        import ray
        import ray.data
        import ray.util.scheduling_strategies
    except ModuleNotFoundError as error:
        raise NotInstalledError("--ray needs Ray, which is not installed; pip install 'mova[scale]'") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is raised
    if ray.is_initialized():
        yield ray
        return
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "lancedb fork support")  # the children do not use it
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"--ray {address}: no Ray cluster can be reached there; {_hint(address)} ({error})") from error
    try:
        if shows_token:
            _require_answer(ray, address)
        yield ray
    finally:
        ray.shutdown()
