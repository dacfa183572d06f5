"""`mova search`: find moments in indexed videos by text."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from mova.cli.answer_output import print_answer
from mova.cli.console import Bar, note, progress_bar
from mova.cli.moment_files import MomentFiles, export_moments
from mova.cli.options import IndexFolders, Json, MovedModel, TimeLimit, index_folders, read_caption
from mova.cli.output_files import output_folder
from mova.cli.query_history import query_history
from mova.cli.search_options import (
    ExampleOptions,
    FilterOptions,
    QueryOptions,
    RankingOptions,
    RerankOptions,
    TrimOptions,
)
from mova.errors import MovaError, UsageError

if TYPE_CHECKING:
    from mova.search.narrow.answer import Answer
    from mova.search.narrow.filter import Filter
    from mova.search.narrow.trim import Trim
    from mova.search.searchable import SearchableIndex
    from mova.search.second_stage.reranker import Reranker

QueryText = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TEXT]", help="The query: a sentence or a paragraph (default: ask for queries)."),
]

Local = Annotated[
    bool, typer.Option("--local", help="Search here, without asking a `mova serve` that runs for this index.")
]


class _Asking:
    """Progress of the second model; `bar` is that of the present query."""

    bar: Bar | None = None

    def __call__(self, done: int, total: int) -> None:
        """Show how many moments were asked about."""
        if self.bar is not None:
            if not self.bar.tasks:
                self.bar.add_task("asking", total=total)
            line = f"asking: moment {done} of {total}"
            self.bar.update(self.bar.tasks[0].id, completed=done, total=total, line=line)


class _Options(NamedTuple):
    """What is done with every query."""

    k: int
    skip: int
    filter: Filter
    trim: Trim
    ranking: RankingOptions
    example: ExampleOptions
    export: Path | None
    time_limit: float | None
    files: MomentFiles
    json: bool
    second: Reranker | None
    model: str | None


def search(
    words: QueryText = None,
    source: QueryOptions = QueryOptions(),  # noqa: B008 - immutable
    indexes: IndexFolders = None,
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="Number of moments to return, per page.")] = 10,
    narrow: FilterOptions = FilterOptions(),  # noqa: B008
    around: TrimOptions = TrimOptions(),  # noqa: B008
    export: Annotated[Path | None, output_folder("Folder to write a clip of each moment to.")] = None,
    ranking: RankingOptions = RankingOptions(),  # noqa: B008
    rerank: RerankOptions = RerankOptions(),  # noqa: B008
    time_limit: TimeLimit = None,
    example: ExampleOptions = ExampleOptions(),  # noqa: B008
    files: MomentFiles = MomentFiles(),  # noqa: B008
    local: Local = False,
    model: MovedModel = None,
    json: Json = False,
) -> None:
    """Find the moments in indexed videos that show what a text describes.

    Quotes around the text are not needed. Without a text, a prompt asks for queries one after the other.
    Evidence is strong (a false-alarm rate of at most 1 %), weak (at most --false-alarm) or none.
    The exit code is 1 if --export is used and no clip could be written.
    """
    options = _Options(
        k,
        narrow.skipped(k),
        narrow.filter(),
        around.trim(),
        ranking,
        example,
        export,
        time_limit,
        files,
        json,
        rerank.reranker(_Asking()),
        model,
    )
    folders = index_folders(indexes)
    _require_compatible(options)
    files.check()
    if source.queries is not None:
        _answer_file(folders, source, words, options)
        return
    no_text = example.like is not None and not words and source.text_file is None
    text = "" if no_text else _query(words, source.text_file)
    if text is None and files.requested():
        raise UsageError(
            f"{files.requested()[0]} is for one query: every answer at the prompt would overwrite the last; give a TEXT"
        )
    asks_service = not local and options.second is None and model is None
    if text and asks_service and _answered_by_service(folders, text, options):
        return
    index = _opened(folders, text, options)
    if text is None:
        _ask(index, options)
    else:
        if example.like is None:
            index.prepare(text, ranking.order)  # so that the elapsed time is that of the search
        _answer(index, text, options)
    index.refresh()


def _opened(folders: list[str], text: str | None, options: _Options) -> SearchableIndex:
    """Open the index, and report what is wrong with the query, the filter or the second model before it is searched.

    Raises:
        ModelError, UsageError: something is.
    """
    from mova.search.query import query_sentences

    options.ranking.check()
    if text:
        query_sentences(text)  # a query that is too long is refused before anything is loaded
    index = _named(folders, options.model)
    index.require_exists()
    index.adopt()
    index.videos(options.filter)  # a filter that leaves no video is an error before the model is loaded
    if options.second is not None:
        options.second.prepare(index.folder, index.meta)
    return index


def _named(folders: list[str], model: str | None) -> SearchableIndex:
    """Return an index, or several as one. The model is where that of the index is now, if it was moved."""
    if len(folders) > 1:
        from mova.search.shards.index import ShardedIndex

        return ShardedIndex(folders, model)
    from mova.search.index import Index

    return Index(folders[0], model)


def _require_compatible(options: _Options) -> None:
    """Raise if options are used together of which one would be ignored.

    Raises:
        UsageError: they are.
    """
    if options.example.like is None:
        if options.example.by is not None:
            raise UsageError("--by needs --like: what the moments should share with the example")
    elif ignored := [*options.ranking.without_effect(), *(["--rerank"] if options.second is not None else [])]:
        raise UsageError(f"{ignored[0]} is for the sentences of a text; omit it with --like")


def _answer_file(folders: list[str], source: QueryOptions, words: list[str] | None, options: _Options) -> None:
    """Answer many queries."""
    from mova.cli.query_file import answer_queries

    others = {"a TEXT": words, "--text-file": source.text_file, "--like": options.example.like}
    others["--export"] = options.export
    source.require_alone([name for name, value in others.items() if value])
    source.require_alone([option for option in options.files.requested() if option not in ("--csv", "--predictions")])
    options.ranking.check()
    assert source.queries is not None
    if options.second is not None:
        options.second.second  # noqa: B018 - a model that is not there is reported before anything is answered

    def search(index: SearchableIndex, text: str, wanted: Filter) -> Answer:
        """Answer one query."""
        return _search(index, text, options._replace(filter=wanted))

    answer_queries(
        folders, source.queries, search, options.filter, options.model, files=options.files, json=options.json
    )


def _ask(index: SearchableIndex, options: _Options) -> None:
    """Answer queries until an empty line or the end of input."""
    note(f"{len(index)} videos; write what to search for, or nothing to leave")
    with query_history():
        while text := _asked():
            try:
                _answer(index, text, options)
            except MovaError as error:
                note(f"mova: {error}")


def _asked() -> str:
    """Return what was written at the prompt; nothing at the end of input."""
    try:
        return input("> ").strip()
    except EOFError:
        return ""


def _answered_by_service(folders: list[str], text: str, options: _Options) -> bool:
    """Ask the service of the index, print and export; return False if no service can answer, as for several indexes."""
    from mova.search.cold.service import NAME
    from mova.utils.files import local_folder

    place = local_folder(folders[0]) if len(folders) == 1 else None
    if options.example.like is not None or place is None or not (place / NAME).exists():
        return False
    from mova.search.cold.asked import search_by_service

    began = time.perf_counter()
    given = {**vars(options.ranking), "skip": options.skip}
    found = search_by_service(place, text, options.k, options.filter, options.trim, **given)
    if found is None:
        return False
    _report(found[0], text, found[1], time.perf_counter() - began, options, folders[0])
    return True


def _answer(index: SearchableIndex, text: str, options: _Options) -> None:
    """Search, print and export."""
    began = time.perf_counter()
    like, by = options.example.like, options.example.by
    if like is not None:
        wanted, skip, trim = options.filter, options.skip, options.trim
        moments = index.search_like(like, text, options.k, by=by, filter=wanted, skip=skip, trim=trim)
        label = f"{text or by or ''} like {like}".strip()
    else:
        moments, label = _search(index, text, options), text
    _report(moments, label, index.meta.model, time.perf_counter() - began, options, index)


def _report(
    moments: Answer, label: str, model: str, elapsed: float, options: _Options, index: SearchableIndex | str
) -> None:
    """Print an answer, write the files that were asked for, and export clips."""
    if isinstance(index, str) and (options.files.requested() or not moments):
        index = _named([index], options.model)
    empty = not (moments or isinstance(index, str) or len(index))
    print_answer(moments, label, model, elapsed, options.k, options.filter, as_json=options.json, empty=empty)
    if options.files.requested() and not isinstance(index, str):
        options.files.write(moments, label, index)
    if options.export is not None:
        export_moments(moments, options.export, options.time_limit)


def _search(index: SearchableIndex, text: str, options: _Options) -> Answer:
    from mova.video.limits import TIME_LIMIT

    second = options.second
    if second is None:
        isolated: AbstractContextManager[object] = nullcontext()
    else:
        isolated = second.isolated(options.time_limit or TIME_LIMIT)
    with isolated, progress_bar() if second is not None else nullcontext() as bar:
        if second is not None:
            assert isinstance(second.progress, _Asking)
            second.progress.bar = bar
        return index.search(
            text,
            k=options.k,
            **vars(options.ranking),
            filter=options.filter,
            skip=options.skip,
            trim=options.trim,
            rerank=second,
        )


def _query(words: list[str] | None, text_file: Path | None) -> str | None:
    """Return the query from whichever of the two is used; None if it has to be asked for in a terminal."""
    if words and text_file is not None:
        raise UsageError("give the query either as TEXT or with --text-file")
    if not words and text_file is None and not sys.stdin.isatty():
        raise UsageError("give the query either as TEXT or with --text-file, or neither in a terminal to be asked")
    if text_file is not None:
        return read_caption(text_file)
    return " ".join(words) if words else None
