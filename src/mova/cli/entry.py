"""The start of the `mova` command: a search that a running service can answer needs nothing else of mova."""

from __future__ import annotations

import sys


def run() -> None:
    """Run `mova`: print the answer of a service that runs for the index, or else run the whole command line."""
    words = sys.argv[1:]
    if words[:1] == ["search"]:
        from mova.cli.quick_search import print_by_service

        if print_by_service(words[1:]):
            return
    from mova.cli.main import run as run_all

    run_all()
