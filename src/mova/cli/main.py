"""The `mova` command. Exit codes: 0 done, 1 the job failed, 2 wrong usage, 130 stopped by Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from mova._version import __version__
from mova.cli.commands import (
    align,
    bench,
    config,
    demo,
    explain,
    fit,
    highlights,
    index,
    judge,
    models,
    reproduce,
    score,
    search,
    serve,
    train,
)
from mova.cli.console import note, one_line, setup_logging
from mova.cli.data import check, contrast, convert, expand, export, features, shards, synthesize, table, weights
from mova.cli.data import worlds as data_worlds
from mova.cli.eval import compare, generation, matrix, summaries, synvita, tasks
from mova.cli.eval import long as eval_long
from mova.cli.eval import relations as eval_relations
from mova.cli.eval import rerank as eval_rerank
from mova.cli.eval import worlds as eval_worlds
from mova.cli.library import forget, list_videos, status, update, versions, watch
from mova.cli.options import take_groups
from mova.cli.placement import with_placement
from mova.cli.user_settings import apply_config
from mova.data.manifest_paths import OUTSIDE
from mova.errors import MovaError, VideoError, not_installed

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal, as shells have it."""

OLD_OPTIONS = {"--materialise": "--materialize", "--quantise": "--quantize", "--share": "--hold-out-percent"}
"""Old name of an option -> its current name. Old names still work, but no help page lists them."""


SEARCH = "Search and align"
LIBRARY = "Look after an index"
TRAIN = "Train and evaluate"
MORE = "More"


class Command(NamedTuple):
    """A row of the table of commands."""

    group: str
    """Group of the command in `mova GROUP NAME`; empty for `mova NAME`."""
    name: str
    function: Callable[..., None]
    panel: str | None = None
    """Heading above the command on the help page."""
    overrides: bool = False
    """Whether the command also accepts the keys of a recipe as options: `--training.max_steps 10`."""
    more_help: Callable[[list[str]], str] | None = None
    """Words of the command line -> what `--help` prints after the options."""
    loads_model: bool = False
    """Whether the command gets --device and --precision for the models that it loads."""


GROUPS = {
    "eval": "Evaluate models and score files, and compare reports.",
    "data": "Create, convert and check data.",
}
COMMANDS = (
    Command("", "index", index.index, SEARCH, loads_model=True),
    Command("", "search", search.search, SEARCH, loads_model=True),
    Command("", "highlights", highlights.highlights, SEARCH, loads_model=True),
    Command("", "align", align.align, SEARCH, loads_model=True),
    Command("", "score", score.score, SEARCH),
    Command("", "judge", judge.judge, SEARCH),
    Command("", "explain", explain.explain, SEARCH),
    Command("", "serve", serve.serve, SEARCH, loads_model=True),
    Command("", "status", status.status, LIBRARY),
    Command("", "list", list_videos.list_videos, LIBRARY),
    Command("", "update", update.update, LIBRARY, loads_model=True),
    Command("", "watch", watch.watch, LIBRARY, loads_model=True),
    Command("", "forget", forget.forget, LIBRARY),
    Command("", "versions", versions.versions, LIBRARY),
    Command("", "train", train.train, TRAIN, overrides=True, more_help=train.recipe_help),
    Command("", "fit", fit.fit, TRAIN),
    Command("", "reproduce", reproduce.reproduce, TRAIN, overrides=True),
    Command("", "demo", demo.demo, MORE, loads_model=True),
    Command("", "models", models.models, MORE),
    Command("", "config", config.config, MORE),
    Command("", "bench", bench.bench, MORE),
    Command("data", "convert", convert.convert),
    Command("data", "export", export.export),
    Command("data", "check", check.check),
    Command("data", "features", features.features, loads_model=True),
    Command("data", "worlds", data_worlds.worlds),
    Command("data", "table", table.table),
    Command("data", "shards", shards.shards),
    Command("data", "expand", expand.expand, loads_model=True),
    Command("data", "contrast", contrast.contrast),
    Command("data", "synthesize", synthesize.synthesize),
    Command("data", "weights", weights.weights),
    Command("eval", "retrieval", tasks.retrieval, loads_model=True),
    Command("eval", "moments", tasks.moments, loads_model=True),
    Command("eval", "classify", tasks.classify, loads_model=True),
    Command("eval", "choice", tasks.choice, loads_model=True),
    Command("eval", "entailment", tasks.entailment, loads_model=True),
    Command("eval", "worlds", eval_worlds.worlds, loads_model=True),
    Command("eval", "long", eval_long.long, loads_model=True),
    Command("eval", "relations", eval_relations.relations, loads_model=True),
    Command("eval", "rerank", eval_rerank.rerank, loads_model=True),
    Command("eval", "generation", generation.generation),
    Command("eval", "synvita", synvita.synvita),
    Command("eval", "matrix", matrix.matrix),
    Command("eval", "summaries", summaries.summaries),
    Command("eval", "compare", compare.compare),
)
"""All commands, in the order of the help pages."""


class _Command(TyperCommand):
    """A command that also accepts the old names of its options."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help page, and more if the command has some for these words (the settings of a recipe)."""
        super().format_help(ctx, formatter)
        for command in COMMANDS:
            if command.more_help is not None and not command.group and command.name == self.name:
                typer.echo(command.more_help(ctx.meta["words"]), nl=False)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of a command line in which old names of options are replaced."""
        ctx.meta["words"] = list(args)
        names = {name for parameter in self.params for name in parameter.opts}
        return super().parse_args(ctx, [_current_name(word, names) for word in args])


def _current_name(word: str, names: set[str]) -> str:
    """Replace an option's old name (`--old` or `--old=value`) if the command has the new one."""
    old, equals, value = word.partition("=")
    new = OLD_OPTIONS.get(old)
    return f"{new}{equals}{value}" if new in names else word


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    manifest_outside: Annotated[
        bool,
        typer.Option(
            "--manifest-outside", help="Allow paths in manifests that lead out of the manifest's folder (..)."
        ),
    ] = False,
) -> None:
    """Align long videos with long texts: find moments, align captions, train and evaluate models."""
    setup_logging()
    if manifest_outside:
        os.environ[OUTSIDE] = "1"


def build_app() -> typer.Typer:
    """Build the command line from the table of commands."""
    root = typer.Typer(
        name="mova",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(main)
    apps = {"": root}
    for group, about in GROUPS.items():
        apps[group] = typer.Typer(help=about, no_args_is_help=True)
        root.add_typer(apps[group], name=group, rich_help_panel=TRAIN)
    for command in COMMANDS:
        settings = {"allow_extra_args": True, "ignore_unknown_options": True} if command.overrides else None
        register = apps[command.group].command(
            command.name, cls=_Command, context_settings=settings, rich_help_panel=command.panel
        )
        function = take_groups(command.function)
        register(with_placement(function) if command.loads_model else function)
    return root


app = build_app()


@cache
def _parser() -> Any:
    """Return the parser of all commands, made once per process: that takes 50 ms."""
    return typer.main.get_command(app)


def run() -> None:
    """Run `mova`. Errors meant for people are printed as one message, without a traceback.

    Threads of the model that wait for each other give their core to the decoder, instead of keeping it busy.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("LANCEDB_LOG", "error")  # it warns of each table of a new index on object storage
    try:
        apply_config()
        _parser()()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            note("mova: stopped")
        raise
    except MovaError as error:
        note(f"mova: {one_line(error) if isinstance(error, VideoError) else error}")
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        explained = not_installed(error)
        if explained is None:
            raise
        note(f"mova: {explained}")
        sys.exit(explained.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        note(f"mova: {error.filename}: {error.strerror}" if named else f"mova: {error}")
        sys.exit(1)


if __name__ == "__main__":
    run()
