"""`mova`: the front door. Exit codes: 0 done, 1 the job failed, 2 wrong usage, 130 stopped by Ctrl-C."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mova._version import __version__
from mova.cli.commands import align, demo, explain, index_search, reproduce, score, train
from mova.cli.console import note, setup_logging
from mova.cli.data import commands, contrast, expand, synthesize
from mova.cli.eval import matrix
from mova.errors import MovaError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal, as shells have it."""

app = typer.Typer(
    name="mova",
    help="Align long videos with long texts: find moments, align captions, train and measure.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
index_search.register(app)
align.register(app)
score.register(app)
explain.register(app)
train.register(app)
matrix.register(app)
reproduce.register(app)
commands.register(app)
expand.register(app)
contrast.register(app)
synthesize.register(app)
demo.register(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Align long videos with long texts: find moments, align captions, train and measure."""
    setup_logging()


def run() -> None:
    """Entry point: errors meant for people are printed as one message, without a traceback."""
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            note("mova: stopped")
        raise
    except MovaError as error:
        note(f"mova: {error}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        note(f"mova: {error.filename}: {error.strerror}" if named else f"mova: {error}")
        sys.exit(1)


if __name__ == "__main__":
    run()
