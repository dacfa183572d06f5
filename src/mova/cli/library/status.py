"""`mova status`: what an index holds, and what is wrong with its files."""

from __future__ import annotations

from rich.filesize import decimal

from mova.cli.console import FAILURES_SHOWN, emit, note, one_line, say
from mova.cli.options import DEFAULT_INDEX, IndexFolder, Json
from mova.utils.time_format import clock


def status(folder: IndexFolder = DEFAULT_INDEX, json: Json = False) -> None:
    """Show what an index holds: model, videos, hours, size, folders, and files that are missing or failed."""
    from mova.search.index import Index

    result = Index(folder).status()
    if json:
        emit(result.to_json())
        return
    copies = result.videos - result.contents
    seen, unit = "", "frames"
    frames = "frame" if result.frame_rate == 1 else "frames"
    if result.window > 1:
        lengths = (count / result.frame_rate for count in (result.window, result.stride))
        seen, unit = ", windows of {:g} s every {:g} s".format(*lengths), "windows"
    if result.novelty:
        seen, unit = f", stretches of frames within a cosine distance of {result.novelty:g}", "vectors"
    rows = {
        "index": result.index + ("" if result.bytes is None else f" ({decimal(result.bytes)})"),
        "model": f"{result.model}, {result.frame_rate:g} {frames} per second ({result.sampling}){seen}",
        "videos": f"{result.videos}" + (f" ({copies} of them copies)" if copies else ""),
        "length": f"{clock(result.seconds)}, {result.frames} {unit}",
        "updated": result.updated or "not recorded",
        "paths": _paths(result.roots) or "not recorded; name them to `mova index` once",
    }
    for name, value in rows.items():
        say(f"{name:8} {one_line(value)}")
    _list("missing", [one_line(path) for path in result.missing])
    _list("failed", [f"{one_line(path)}: {one_line(cause)}" for path, cause in result.failed.items()])


def _paths(roots: tuple[str, ...]) -> str:
    more = f", and {len(roots) - FAILURES_SHOWN} more; --json lists all" if len(roots) > FAILURES_SHOWN else ""
    return ", ".join(roots[:FAILURES_SHOWN]) + more


def _list(heading: str, lines: list[str]) -> None:
    for line in lines[:FAILURES_SHOWN]:
        note(f"{heading}: {line}")
    if len(lines) > FAILURES_SHOWN:
        note(f"{heading}: and {len(lines) - FAILURES_SHOWN} more; --json lists all")
