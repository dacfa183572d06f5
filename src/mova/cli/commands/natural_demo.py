"""The parts of `mova demo` on natural pictures: a film of sample photographs, and the user's own folder.

The photographs come with scikit-image (CC0 or public domain) and scikit-learn (CC BY 2.0: temple by
danielbuechele, flower by vultilion). They are read from the installed packages; nothing is downloaded.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova.cli.console import clock, note, one_line, say, show
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.search.index import Index
    from mova.types import Span, Timeline

MODEL = "mova-natural"
PHOTOGRAPHS = (
    ("skimage", "data/coffee.png", "a cup of coffee"),
    ("skimage", "data/rocket.jpg", "a rocket"),
    ("skimage", "data/chelsea.png", "a cat"),
    ("skimage", "data/page.png", "a page of a book"),
    ("skimage", "data/astronaut.png", "an astronaut"),
    ("skimage", "data/brick.png", "a brick wall"),
    ("sklearn", "datasets/images/flower.jpg", "a flower"),
    ("skimage", "data/moon.png", "the surface of the moon"),
    ("skimage", "data/camera.png", "a man with a camera"),
    ("skimage", "data/coins.png", "old coins"),
    ("sklearn", "datasets/images/china.jpg", "a temple"),
    ("skimage", "data/grass.png", "grass"),
    ("skimage", "data/hubble_deep_field.jpg", "galaxies in the night sky"),
)
"""Package, file, and a query that the photograph answers."""
SECONDS = 4.0
QUERIES = ("an animal", "a person", "a vehicle on a road", "food on a table", "a landscape", "a room with furniture")
"""Queries for a folder whose content is unknown."""


def photographs() -> list[Path] | None:
    """Return the files of all photographs, or None if a package or one of its files is not installed."""
    files = []
    for package, path, _ in PHOTOGRAPHS:
        spec = find_spec(package)
        folders = [] if spec is None else spec.submodule_search_locations or []
        file = next((Path(folder) / path for folder in folders if (Path(folder) / path).is_file()), None)
        if file is None:
            return None
        files.append(file)
    return files


def film_demo(target: Path) -> dict[str, Any] | None:
    """Search a film of photographs; None, with a note, if the model or the photographs are not installed.

    Args:
        target: folder of the film, its index and the pictures.
    """
    import numpy as np
    from PIL import Image

    from mova.models.natural.weights import INSTALL, is_installed
    from mova.models.registry import load
    from mova.plots.timeline import draw
    from mova.search.index import Index
    from mova.worlds.slideshow import write_slideshow

    files = photographs()
    if files is None or not is_installed():
        note(f"the film of photographs is left out; it needs {INSTALL} scikit-image")
        return None
    note(f"making a film of {len(files)} photographs, and indexing it with {MODEL} ...")
    folder = target / "photographs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    spans = write_slideshow(folder / "photographs.mp4", pictures, seconds=SECONDS)
    index = Index(folder / "index", load(MODEL))
    index.add([folder / "photographs.mp4"])
    queries = [query for _, _, query in PHOTOGRAPHS]
    searches = [_compare(index, query, span) for query, span in zip(queries, spans, strict=True)]
    timeline = _timeline(index, folder / "photographs.mp4", searches)
    paths = [target / f"photographs{suffix}" for suffix in (".png", ".html")]
    for path in paths:
        draw(timeline, path, truth=[[span] for span in spans])
    return {"model": MODEL, "video": "photographs.mp4", "searches": searches, "pictures": [str(p) for p in paths]}


def _timeline(index: Index, film: Path, searches: list[dict[str, Any]]) -> Timeline:
    """Return the relevance of each query over time, with the best moment of its search.

    The queries are not aligned as one caption: they are in the order of the film, and would be found by that alone.
    """
    from mova.types import ScoredSpan, SentenceTimeline, Span, Timeline, complement

    stored = index.stored(film)
    assert stored is not None, "the film was indexed"
    queries = [row["query"] for row in searches]
    relevance = index.model.relevance(index.model.encode_text(queries), stored).cpu().numpy()
    rows = []
    for query, curve, row in zip(queries, relevance, searches, strict=True):
        best = row["results"][0]
        rows.append(SentenceTimeline(query, curve, (ScoredSpan(Span(best["start"], best["end"]), best["score"]),)))
    uncovered = tuple(complement([scored.span for row in rows for scored in row.spans], stored.duration))
    return Timeline(str(film), stored.duration, stored.times, tuple(rows), uncovered, step=stored.step)


def _compare(index: Index, query: str, truth: Span) -> dict[str, Any]:
    """Return the moments of a query, and whether the first one is mostly within the true seconds."""
    moments = index.search(query, k=3)
    first = moments[0]
    shared = max(0.0, min(first.end, truth.end) - max(first.start, truth.start))
    return {
        "query": query,
        "truth": [truth.start, truth.end],
        "results": [moment.to_json() for moment in moments],
        "first_is_right": shared > (first.end - first.start) / 2,
    }


def print_film(document: dict[str, Any]) -> None:
    """Print found and true seconds of each query."""
    from rich.table import Table

    title = f"search: a film of photographs ({document['model']})"
    table = Table(title=title, title_justify="left")
    for column in ("query", "result (score)", "ground truth", "correct"):
        table.add_column(column)
    for row in document["searches"]:
        best = row["results"][0]
        found = f"{clock(best['start'])}-{clock(best['end'])} ({best['score']:.2f})"
        start, end = row["truth"]
        table.add_row(row["query"], found, f"{clock(start)}-{clock(end)}", "yes" if row["first_is_right"] else "no")
    show(table)
    right = sum(row["first_is_right"] for row in document["searches"])
    say(f"{right} of {len(document['searches'])} queries found their photograph first")
    for picture in document["pictures"]:
        say(f"wrote {picture}")


def folder_demo(videos: Path, target: Path) -> dict[str, Any]:
    """Index a folder and search it for things that many videos show; write the moments as one page.

    Raises:
        UsageError: no such folder.
        ModelError: the model is not installed.
    """
    if not videos.is_dir():
        raise UsageError(f"{videos}: no such folder; --videos needs a folder of video files")
    from mova.models.registry import load
    from mova.plots.moments import draw_moments
    from mova.search.index import Index

    model = load(MODEL)
    note(f"indexing {videos} with {MODEL} ...")
    index = Index(target / "own-index", model)
    report = index.add([videos])
    results = [(query, index.search(query, k=3)) for query in QUERIES]
    paths = [target / f"own{suffix}" for suffix in (".png", ".html")]
    for path in paths:
        draw_moments(results, path, MODEL)
    return {
        "model": MODEL,
        "videos": str(videos),
        "frames": report.frames,
        "skipped": [[str(path), str(cause)] for path, cause in report.failed],
        "searches": [{"query": query, "results": [m.to_json() for m in moments]} for query, moments in results],
        "pictures": [str(path) for path in paths],
    }


def print_folder(document: dict[str, Any]) -> None:
    """Print the best moment of each query."""
    from rich.table import Table
    from rich.text import Text

    for path, cause in document["skipped"]:
        note(f"skipped {one_line(path)}: {one_line(cause)}")
    table = Table(title=f"search: {document['videos']} ({document['model']})", title_justify="left")
    for column in ("query", "score", "evidence", "moment", "video"):
        table.add_column(column)
    for row in document["searches"]:
        for moment in row["results"][:1]:
            span = f"{clock(moment['start'])}-{clock(moment['end'])}"
            word = moment.get("evidence") or "not measured"
            table.add_row(row["query"], f"{moment['score']:.2f}", word, span, Text(Path(moment["video"]).name))
    show(table)
    for picture in document["pictures"]:
        say(f"wrote {picture}")
    say(f'search it yourself: mova search "..." --index {Path(document["pictures"][0]).parent / "own-index"}')
