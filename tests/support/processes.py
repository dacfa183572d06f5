"""Several processes that work together, as torchrun starts them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch

METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def run_processes(work: Callable[..., None], arguments: tuple[Any, ...], world: int) -> None:
    """Run `work(number, *arguments)` in as many processes; raise the first error of any.

    They are forked from a process that has imported `tests.support.preloaded` and done nothing else: this one has
    threads and locks of other tests, and a new interpreter imports for seconds. Environment variables are those of the
    first call.
    """
    multiprocessing.set_forkserver_preload(["tests.support.preloaded"])
    torch.multiprocessing.start_processes(work, args=arguments, nprocs=world, start_method=METHOD)
