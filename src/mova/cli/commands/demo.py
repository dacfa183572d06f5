"""`mova demo`: index, search and align rendered videos, and compare each result with the ground truth."""

from __future__ import annotations

import json as jsonlib
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.console import SENTENCE_WIDTH, clock, emit, note, say, show
from mova.cli.options import Json
from mova.cli.output_files import output_folder

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.search.index import Index
    from mova.types import Span, Timeline

MODEL = "mova-worlds-tiny"
SHORT_VIDEOS, SHORT_SECONDS = 5, 40.0
LONG_SECONDS = 630.0
HELD_OUT_SEED = 900_001
"""Training uses other seeds (see the recipe), so these videos are new to the model."""
SPANS_SHOWN = 3
"""Spans per sentence in the table; the plots and `--json` contain all."""


def demo(
    target: Annotated[Path, output_folder("Folder for the videos, the index and the plots.", "--out")] = Path("demo"),
    videos: Annotated[
        Path | None, typer.Option(help="Index and search this folder of your own videos instead (extra `natural`).")
    ] = None,
    json: Json = False,
) -> None:
    """Index, search and align rendered videos and a film of photographs, and compare with the ground truth."""
    from mova.cli.commands import natural_demo

    if videos is not None:
        found = natural_demo.folder_demo(videos, target)
        emit(found) if json else natural_demo.print_folder(found)
        return
    document = _worlds_demo(target)
    began = time.perf_counter()
    document["film"] = natural_demo.film_demo(target)
    document["elapsed_seconds"] = round(document["elapsed_seconds"] + time.perf_counter() - began, 1)
    if json:
        emit(document)
        return
    _print_document(document)
    if document["film"] is not None:
        natural_demo.print_film(document["film"])
    say(f"done in {document['elapsed_seconds']} s")


def _worlds_demo(target: Path) -> dict[str, Any]:
    """Index, search and align rendered videos."""
    from mova.models.registry import load
    from mova.search.index import Index
    from mova.worlds.writer import write_worlds

    began = time.perf_counter()
    note(f"rendering {SHORT_VIDEOS} videos of {SHORT_SECONDS:.0f} s and one of {LONG_SECONDS / 60:.1f} min ...")
    short = write_worlds(target / "short", SHORT_VIDEOS, SHORT_SECONDS, "flat", HELD_OUT_SEED)
    long = write_worlds(target / "long", 1, LONG_SECONDS, "shaded", HELD_OUT_SEED + 1)
    rows = [(manifest.parent, row) for manifest in (short, long) for row in _rows(manifest)]
    model = load(MODEL)
    note(f"indexing {len(rows)} videos with {MODEL} ...")
    shutil.rmtree(target / "index", ignore_errors=True)  # an earlier demo may have used another model
    index = Index(target / "index", model)
    report = index.add([target / "short", target / "long"])
    searches = _search(index, rows)
    alignments = [_align(model, index, folder, row, target) for folder, row in (rows[0], rows[-1])]
    return {
        "model": MODEL,
        "videos": len(rows),
        "frames": report.frames,
        "searches": searches,
        "alignments": alignments,
        "elapsed_seconds": round(time.perf_counter() - began, 1),
    }


def _rows(manifest: Path) -> list[dict[str, Any]]:
    return [jsonlib.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def _truth(row: dict[str, Any], text: str) -> list[Span]:
    """Return all spans of a video in which a sentence of its caption is true."""
    from mova.worlds.writer import true_spans

    return list(true_spans(row, text))


def _search(index: Index, rows: list[tuple[Path, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Search for one event of each video, by the sentence that describes it."""
    searches = []
    for number, (folder, row) in enumerate(rows):
        sentences = [caption["text"] for caption in row["captions"] if len(caption["sentences"]) == 1]
        sentence = sentences[number % len(sentences)]
        moments = index.search(sentence, k=3)
        truth = _truth(row, sentence)
        name = str((folder / row["video"]).resolve())
        hits = [m.video == name and any(min(m.end, s.end) > max(m.start, s.start) for s in truth) for m in moments]
        searches.append(
            {
                "query": sentence,
                "truth": {"video": row["video"], "spans": [[s.start, s.end] for s in truth]},
                "results": [{**m.to_json(), "video": Path(m.video).name} for m in moments],
                "first_is_right": bool(hits and hits[0]),
            }
        )
    return searches


def _align(model: DualEncoder, index: Index, folder: Path, row: dict[str, Any], target: Path) -> dict[str, Any]:
    """Align the paragraph of a video and plot its timeline."""
    from mova.plots.timeline import draw
    from mova.search.align import align

    timeline = align(model, folder / row["video"], row["captions"][0]["text"], index=index)
    truth = [_truth(row, sentence.text) for sentence in timeline.sentences]
    pictures = []
    for suffix in (".png", ".html"):
        picture = target / f"{folder.name}-{Path(row['video']).stem}{suffix}"
        draw(timeline, picture, truth=truth)
        pictures.append(str(picture))
    return {
        "video": row["video"],
        "duration": timeline.duration,
        "pictures": pictures,
        "sentences": _overlaps(timeline, truth),
    }


def _overlaps(timeline: Timeline, truth: list[list[Span]]) -> list[dict[str, Any]]:
    """Return the predicted and true spans of each sentence, and the temporal IoU of the seconds they cover."""
    rows = []
    for sentence, true in zip(timeline.sentences, truth, strict=True):
        predicted = [scored.span for scored in sentence.spans]
        shared = sum(a.intersection(b) for a in predicted for b in true)
        union = sum(s.duration for s in (*predicted, *true)) - shared
        best = sorted(sentence.spans, key=lambda scored: -scored.score)
        rows.append(
            {
                "text": sentence.text,
                "spans": [scored.to_json() for scored in best],
                "truth": [[span.start, span.end] for span in true],
                "iou": round(shared / union, 3) if union else 0.0,
            }
        )
    return rows


def _print_document(document: dict[str, Any]) -> None:
    """Print the results next to the ground truth."""
    table = Table(title="search: best moment for a sentence, over all videos", title_justify="left")
    for column in ("query", "result (score)", "ground truth", "correct"):
        table.add_column(column, max_width=SENTENCE_WIDTH if column == "query" else None)
    for row in document["searches"]:
        best = row["results"][0]
        result = f"{best['video']} {clock(best['start'])}-{clock(best['end'])} ({best['score']:.2f})"
        truth = f"{row['truth']['video']} " + ", ".join(f"{clock(a)}-{clock(b)}" for a, b in row["truth"]["spans"])
        table.add_row(Text(row["query"]), Text(result), Text(truth), "yes" if row["first_is_right"] else "no")
    show(table)
    for alignment in document["alignments"]:
        title = f"align: {alignment['video']} ({clock(alignment['duration'])})"
        table = Table(title=title, title_justify="left")
        for column in ("sentence", "spans (score)", "ground truth", "IoU"):
            table.add_column(column, max_width=SENTENCE_WIDTH if column == "sentence" else None)
        for row in alignment["sentences"]:
            spans = [f"{clock(s['start'])}-{clock(s['end'])} ({s['score']:.2f})" for s in row["spans"][:SPANS_SHOWN]]
            if len(row["spans"]) > SPANS_SHOWN:
                spans.append(f"and {len(row['spans']) - SPANS_SHOWN} more")
            truth = "\n".join(f"{clock(a)}-{clock(b)}" for a, b in row["truth"])
            table.add_row(Text(row["text"]), Text("\n".join(spans) or "none"), Text(truth), f"{row['iou']:.2f}")
        show(table)
        for picture in alignment["pictures"]:
            say(f"wrote {picture}")
