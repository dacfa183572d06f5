"""Granularity expansion (GEX; GEXIA, Section 3.1) of anyone's manifest: integration and compression, composed freely.

Rows of one granularity become rows of others: long videos with long texts by integration, long videos with short texts
by compression of the texts, images by compression of the videos. Nothing of a video is copied; new rows name stretches
of the files that are there. Rows pass through a workspace on the disk (`expand_store.py`), so memory does not grow with
their number, and a run that was stopped goes on where it was; the same input gives the same bytes.

No row mixes splits. A source video whose clips are in several splits would leak through texts that tell all of it, so
that is an error unless it is allowed by name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mova.data.expansion.levels import make
from mova.data.expansion.operations import Level, Operation, plan
from mova.data.expansion.rows import position, source_key
from mova.data.expansion.statistics import Figures, LeftOut
from mova.data.expansion.workspace import Entry, Store, delete_workspace, pages
from mova.data.manifest import Row, iter_manifest, rebased, row_line, write_lines
from mova.data.readers.annotations import origins
from mova.errors import DataError, UsageError

log = logging.getLogger(__name__)

BASE = "SVST"
"""Granularity of rows that name none: short videos with short texts."""
SHOWN = 5
"""Names of an error or report."""
SAMPLE = 2000
"""Pairs of long and short text that are looked at, of every compression."""
_READ = "the manifest"


@dataclass(frozen=True)
class Compressed:
    """A row whose text was compressed, and the row it was made of."""

    level: str
    long: Row
    short: Row


@dataclass(frozen=True)
class Expansion:
    """What `expand` did.

    Attributes:
        manifest: the file written.
        operations: as told, with the granularity each made and of which.
        figures: granularity -> counts and histograms (`expand_figures.Figures`).
        left_out: granularity -> what could not be used.
        shared_sources: source videos that stand in several splits, where that was allowed.
        sample: pairs of long and short rows, at most `SAMPLE` of every compression, drawn by id.
    """

    manifest: Path
    operations: Sequence[dict[str, str]]
    figures: dict[str, dict[str, Any]]
    left_out: dict[str, dict[str, Any]]
    shared_sources: int
    sample: Sequence[Compressed]

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON document, without the sample."""
        return {
            "manifest": str(self.manifest),
            "rows": sum(each["rows"] for each in self.figures.values()),
            "operations": list(self.operations),
            "granularities": self.figures,
            "left_out": self.left_out,
            "shared_sources": self.shared_sources,
        }


def expand(
    manifest: str | Path,
    target: str | Path,
    operations: Sequence[Operation],
    *,
    base: str = BASE,
    leave_out: Collection[str] = (),
    shared_sources: bool = False,
    keep_workspace: bool = False,
) -> Expansion:
    """Expand a manifest.

    Args:
        manifest: the rows to begin with.
        target: a `.jsonl` file, or a folder for `manifest.jsonl`.
        operations: from `parse_operations`, applied one after the other.
        base: granularity of the manifest's rows whose `meta.granularity` names none.
        leave_out: granularities that are made but not written.
        shared_sources: allow source videos to stand in several splits.
        keep_workspace: leave it to `forget`, so that what follows may fail without costing what was made.

    Raises:
        UsageError: operations that do not fit together, an unknown name in `leave_out`, or nothing left to write.
        DataError: the manifest cannot be read, or leaks from split to split.
        ModelError: a summarizer that cannot be run or reached.
    """
    manifest, path = Path(manifest), target_file(target)
    if os.path.abspath(path) == os.path.abspath(manifest):
        raise UsageError(f"{path}: is the manifest itself; write the expansion somewhere else")
    path.parent.mkdir(parents=True, exist_ok=True)
    with Store(_workspace(path), _fingerprint(manifest, path, operations, base)) as store:
        figures = _read(manifest, path.parent, base, store)
        shared = _refuse_leaks(manifest, store, shared_sources)
        levels = plan(operations, base, figures.keys())
        written = _written([*figures, *(level.name for level in levels)], leave_out)
        left_out = {}
        for level in levels:
            figures[level.name], left_out[level.name] = _made(level, store, path.parent)
        write_lines(path, store.lines(written))
        sample = _sample(store, [level for level in levels if level.operation.kind == "compress"])
        if not keep_workspace:
            store.delete()
    told = [{"granularity": level.name, "of": level.of, "operation": level.operation.told} for level in levels]
    return Expansion(path, told, {name: figures[name] for name in written}, left_out, shared, sample)


def target_file(target: str | Path) -> Path:
    """The manifest that an expansion into a folder or file writes."""
    return path if (path := Path(target)).suffix == ".jsonl" else path / "manifest.jsonl"


def forget(done: Expansion) -> None:
    """Delete the workspace of an expansion that kept it."""
    delete_workspace(_workspace(done.manifest))


def _workspace(path: Path) -> Path:
    return path.with_name(f".{path.name}.expand")


def _fingerprint(manifest: Path, path: Path, operations: Sequence[Operation], base: str) -> str:
    """Of all that decides the rows; the manifest counts by its place, size and time of change."""
    try:
        state = manifest.stat()
    except OSError as error:
        raise DataError(f"{manifest}: cannot be read as a manifest: {error}") from error
    told = [(operation.told, operation.of, operation.name) for operation in operations]
    places = [os.path.abspath(manifest), os.path.abspath(path)]
    content = json.dumps([places, state.st_size, state.st_mtime_ns, told, base])
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _read(manifest: Path, folder: Path, base: str, store: Store) -> dict[str, dict[str, Any]]:
    """Put the manifest's rows into the workspace; figures of the granularities it holds."""
    if (known := store.finished(_READ)) is not None:
        log.info("%s: going on where the last run stopped", manifest)
        return known
    figures: dict[str, Figures] = {}
    try:
        for page in pages(_prepared(manifest, folder, base), SHOWN * 400):
            store.note_origins((origin, row.split) for row in page for origin in origins(row))
            for row in page:
                figures.setdefault(row.meta["granularity"], Figures()).add(row)
            store.add(map(_entry, page))
    except DataError as error:
        raise DataError(str(error) if str(manifest) in str(error) else f"{manifest}: {error}") from error
    if not figures:
        raise DataError(f"{manifest}: holds no rows")
    document = {name: each.to_json() for name, each in figures.items()}
    store.finish(_READ, document)
    return document


def _prepared(manifest: Path, folder: Path, base: str) -> Iterator[Row]:
    """The manifest's rows with their granularity and with paths as seen from another folder."""
    for _, row in iter_manifest(manifest):
        row, own = rebased(row, manifest.parent, folder), row.meta.get("granularity")
        if own is not None and not (isinstance(own, str) and own.strip()):
            raise DataError(f"row {row.id!r}: meta.granularity must be text that is not empty, not {own!r}")
        yield row if own is not None else replace(row, meta={**row.meta, "granularity": base})


def _entry(row: Row) -> Entry:
    return Entry(row.meta["granularity"], row.id, row.split, source_key(row), position(row), row_line(row))


def _refuse_leaks(manifest: Path, store: Store, allowed: bool) -> int:
    count, first = store.shared_origins(SHOWN)
    if count and not allowed:
        named = "; ".join(f"{source} in {splits}" for source, splits in first)
        raise DataError(
            f"{manifest}: {count} source videos are in several splits ({named}{'; ...' if count > SHOWN else ''}), so "
            "what is made of one split would tell of another; mend the splits, or allow it: --shared-sources"
        )
    return count


def _made(level: Level, store: Store, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make one granularity, or find it made; its figures and what was left out."""
    if (known := store.finished(level.name)) is None:
        figures, left_out = Figures(), LeftOut()

        def entries() -> Iterator[Entry]:
            """Rows as they are stored, each counted on its way."""
            for row in make(level, store, folder, left_out):
                figures.add(row)
                yield _entry(row)

        store.add(entries())
        known = {"figures": figures.to_json(), "left_out": left_out.to_json()}
        store.finish(level.name, known)
    if not known["figures"]["rows"]:
        reasons = "; ".join(f"{reason}: {each['count']}" for reason, each in known["left_out"].items())
        raise DataError(f"{level.operation.told} makes nothing of {level.of} ({reasons or 'it has no rows'})")
    return known["figures"], known["left_out"]


def _written(names: Sequence[str], leave_out: Collection[str]) -> list[str]:
    for name in leave_out:
        if name not in names:
            raise UsageError(f"--leave-out: there is no granularity {name!r}; there are {', '.join(names)}")
    written = [name for name in names if name not in leave_out]
    if not written:
        raise UsageError("--leave-out leaves nothing to write")
    return written


def _sample(store: Store, levels: Sequence[Level]) -> list[Compressed]:
    pairs = []
    for level in levels:
        for line in store.sample(level.name, SAMPLE):
            short = Row.from_json(json.loads(line))
            long = store.line_of(short.meta["of"])
            assert long is not None
            pairs.append(Compressed(level.name, Row.from_json(json.loads(long)), short))
    return pairs
