"""`mova eval rerank`: does another model improve the answers of an index, and what does it cost?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mova.cli.console import emit, note, one_line, progress_bar, say, show
from mova.cli.options import DEFAULT_INDEX, IndexFolder, Json, MaxFrames
from mova.errors import DataError

if TYPE_CHECKING:
    from mova.search.index import Index
    from mova.search.second_stage.measuring import KnownQuery, Measured, ScoredQuery
    from mova.search.second_stage.reranker import Reranker

MOST_QUERIES = 200
"""Queries that are measured by default: each costs as many answers of the second model as it has moments."""


def rerank(
    manifest: Annotated[
        Path, typer.Option(help="A .jsonl whose sentences are the queries; the index has the videos of its rows.")
    ],
    second: Annotated[str, typer.Option("--rerank", metavar="MODEL", help="The second model, as for `mova search`.")],
    folder: IndexFolder = DEFAULT_INDEX,
    split: Annotated[str | None, typer.Option(help="Only sentences of this split (default: all).")] = None,
    top: Annotated[int, typer.Option(min=1, help="Ask about this many of the first moments of a query.")] = 20,
    queries: Annotated[
        int, typer.Option(min=1, help="Measure at most this many sentences, drawn at random.")
    ] = MOST_QUERIES,
    overlap: Annotated[
        float, typer.Option(min=0, max=1, help="Least intersection over union of a correct moment with the known one.")
    ] = 0.5,
    max_frames: MaxFrames = None,
    prompt: Annotated[
        str | None, typer.Option(help="Question for a video LLM: `entailment`, or a YAML file with the key `text`.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    save: Annotated[
        bool, typer.Option("--save/--no-save", help="Keep the weight in the index, for `mova search --rerank MODEL`.")
    ] = True,
    json: Json = False,
) -> None:
    """Measure whether another model improves the answers of an index, and choose the weight of its score.

    The sentences of a manifest are searched, and the model is asked about the first moments of each. The weight is
    chosen by the mean reciprocal rank (MRR) of the first correct moment. If the gain on videos that it was not chosen
    on is within two standard errors of zero, the weight is 0, and `mova search --rerank` then does not ask.
    """
    if not manifest.is_file():
        raise DataError(f"{manifest}: no such file; create a manifest with `mova data convert`")
    from mova.search.index import Index
    from mova.search.second_stage.measuring import measure
    from mova.search.second_stage.mixing import write_mixing
    from mova.search.second_stage.reranker import Reranker

    index = Index(folder)
    index.require_exists()
    wanted = _queries(manifest, split, queries, seed)
    reranker = Reranker(second, top, max_frames=max_frames, prompt=prompt)
    reranker.second  # noqa: B018 - a model that cannot be loaded is reported before anything is searched
    scored, seconds = _scored(index, wanted, reranker, overlap)
    measured = measure(scored, top)
    if save and index.folder is not None:
        write_mixing(index.folder, index.meta, second, measured.mixing, reranker.asked)
    if json:
        document = {"task": "rerank", "model": index.meta.model, "second": second, "overlap": overlap, "seed": seed}
        emit({**document, "seconds_per_moment": round(seconds, 4), **measured.to_json()})
        return
    _show(measured, index.meta.model, second, seconds)
    if index.folder is None:
        note("a remote index keeps no weight; pass it with --rerank-weight")


def _queries(manifest: Path, split: str | None, most: int, seed: int) -> list[KnownQuery]:
    """Return the queries of a manifest, or `most` of them, drawn at random.

    Raises:
        DataError: it has none.
    """
    import numpy as np

    from mova.data.manifest import read_manifest
    from mova.search.second_stage.measuring import known_queries

    rows = [row for row in read_manifest(manifest) if split is None or row.split == split]
    found = known_queries(rows, manifest.resolve().parent)
    if not found:
        where = f" in split {split!r}" if split is not None else ""
        raise DataError(f"{manifest}: has no sentences{where}; a caption needs `sentences` (`mova data convert`)")
    chosen = np.random.default_rng(seed).permutation(len(found))[:most]
    return [found[i] for i in sorted(chosen.tolist())]


def _scored(
    index: Index, wanted: list[KnownQuery], reranker: Reranker, overlap: float
) -> tuple[list[ScoredQuery], float]:
    """Search and ask, with a progress bar; return the scores, and the seconds per moment."""
    from mova.search.second_stage.measuring import score_queries

    with progress_bar() as bar:
        task = bar.add_task("asking", total=len(wanted))
        return score_queries(
            index,
            wanted,
            reranker,
            overlap,
            lambda done, total: bar.update(task, completed=done, total=total, line=f"asking: query {done} of {total}"),
        )


def _show(measured: Measured, first: str, second: str, seconds: float) -> None:
    """Print the figures of each order, and the weight."""
    mixing = measured.mixing
    table = Table(title=f"{one_line(first)}, re-ranked by {one_line(second)}", header_style="bold")
    for column in ("order of the first moments", "MRR", "R@1"):
        table.add_column(column, justify="left" if column.startswith("order") else "right")
    for name, row in measured.figures.items():
        table.add_row(name, f"{row['MRR']:.1f}", f"{row['R@1']:.1f}")
    show(table)
    gain = f"{100 * mixing.gain:+.1f} points of MRR (standard error {100 * mixing.error:.1f})"
    verdict = f"weight {mixing.weight:g}" if mixing.weight else "weight 0: the second model does not help here"
    say(f"{verdict}; gain on other videos {gain}; {mixing.queries} queries, {seconds:.3f} s per moment")
