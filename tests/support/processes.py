"""Several processes that work together, as torchrun starts them."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import Any

import torch

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def run_processes(work: Callable[..., None], arguments: tuple[Any, ...], world: int) -> None:
    """Run `work(number, *arguments)` in as many processes; raise the first error of any.

    They are forked from a process that has imported `tests.support.preloaded` and done nothing else: this one has
    threads and locks of other tests, and a new interpreter imports for seconds. Environment variables are those of the
    first call. `work` leaves its process group as it is.
    """
    multiprocessing.set_forkserver_preload(["tests.support.preloaded"])
    torch.multiprocessing.start_processes(_work_and_end, args=(work, *arguments), nprocs=world, start_method=METHOD)


def _work_and_end(number: int, work: Callable[..., None], *arguments: Any) -> None:
    """Work, wait for the others, and end without destructors.

    The destructor of a process group waits for threads while it holds the lock of the interpreter, for which one of
    them may wait to release a tensor. Whether they ever end is then a matter of timing.
    """
    work(number, *arguments)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
