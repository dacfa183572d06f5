"""Granularity expansion of any manifest (GEX; GEXIA, Section 3.1): integration and compression, freely composed.

Expansion converts rows between granularities: integration makes long videos with long texts, compression of texts makes
long videos with short texts, compression of videos makes images. No video is copied; new rows name segments of the
existing files. Rows pass through a workspace on disk (`workspace.py`), so memory does not grow with their number, and a
run that was stopped continues where it was. Equal input gives equal bytes.

No row mixes splits. A source video with clips in several splits would leak through texts that describe all of it, so it
is an error unless explicitly allowed.
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

from mova.data.expansion.levels import make_rows
from mova.data.expansion.operations import Level, Operation, plan
from mova.data.expansion.rows import source_key, source_start
from mova.data.expansion.statistics import MAX_LISTED, LeftOut, Statistics
from mova.data.expansion.workspace import PAGE_ROWS, StoredRow, Workspace, delete_workspace, pages
from mova.data.manifest import Row, iter_manifest, rebased, row_line, write_lines
from mova.data.readers.annotations import origins
from mova.errors import DataError, UsageError

log = logging.getLogger(__name__)

BASE = "SVST"
"""Default granularity of a manifest's rows: short videos with short texts."""
MAX_SAMPLE_PAIRS = 2000
"""Largest number of pairs of long and short texts sampled per compression."""
_READ_STEP = "the manifest"


@dataclass(frozen=True)
class CompressedPair:
    """A row with a compressed text and the row it was made from.

    Attributes:
        level: granularity of the compressed row.
        long: the original row.
        short: the compressed row.
    """

    level: str
    long: Row
    short: Row


@dataclass(frozen=True)
class Expansion:
    """Result of `expand`.

    Attributes:
        manifest: the file written.
        operations: for each operation, its text, the granularity it made and the one it was applied to.
        statistics: granularity -> counts and histograms (`statistics.Statistics`).
        left_out: granularity -> input that could not be used.
        shared_sources: number of source videos in several splits, if allowed.
        sample: pairs of long and short rows, at most `MAX_SAMPLE_PAIRS` per compression, drawn by id.
    """

    manifest: Path
    operations: Sequence[dict[str, str]]
    statistics: dict[str, dict[str, Any]]
    left_out: dict[str, dict[str, Any]]
    shared_sources: int
    sample: Sequence[CompressedPair]

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON document, without the sample."""
        return {
            "manifest": str(self.manifest),
            "rows": sum(values["rows"] for values in self.statistics.values()),
            "operations": list(self.operations),
            "granularities": self.statistics,
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
        manifest: the manifest to expand.
        target: a `.jsonl` file, or a folder for `manifest.jsonl`.
        operations: operations from `parse_operations`, applied in order.
        base: granularity of rows without `meta.granularity`.
        leave_out: granularities that are made but not written.
        shared_sources: allow source videos in several splits.
        keep_workspace: keep the workspace until `forget`, so that a later failure does not lose the work.

    Raises:
        UsageError: operations that do not fit together, an unknown name in `leave_out`, or nothing left to write.
        DataError: the manifest cannot be read, or a source video is in several splits.
        ModelError: a summarizer cannot be run or reached.
    """
    manifest, path = Path(manifest), target_file(target)
    if os.path.abspath(path) == os.path.abspath(manifest):
        raise UsageError(f"{path}: is the input manifest; write the expansion to another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with Workspace(_workspace_path(path), _fingerprint(manifest, path, operations, base)) as workspace:
        statistics = _read_manifest(manifest, path.parent, base, workspace)
        shared = _check_leaks(manifest, workspace, shared_sources)
        levels = plan(operations, base, statistics.keys())
        written = _select_written([*statistics, *(level.name for level in levels)], leave_out)
        left_out = {}
        for level in levels:
            statistics[level.name], left_out[level.name] = _make_level(level, workspace, path.parent)
        write_lines(path, workspace.lines(written))
        sample = _sample(workspace, [level for level in levels if level.operation.kind == "compress"])
        if not keep_workspace:
            workspace.delete()
    applied = [{"granularity": level.name, "of": level.of, "operation": level.operation.spec} for level in levels]
    return Expansion(path, applied, {name: statistics[name] for name in written}, left_out, shared, sample)


def target_file(target: str | Path) -> Path:
    """Return the manifest that an expansion into a folder or file writes."""
    return path if (path := Path(target)).suffix == ".jsonl" else path / "manifest.jsonl"


def forget(done: Expansion) -> None:
    """Delete the workspace of an expansion made with `keep_workspace`."""
    delete_workspace(_workspace_path(done.manifest))


def _workspace_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.expand")


def _fingerprint(manifest: Path, path: Path, operations: Sequence[Operation], base: str) -> str:
    """Hash everything that determines the rows; the manifest is identified by path, size and modification time."""
    try:
        state = manifest.stat()
    except OSError as error:
        raise DataError(f"{manifest}: cannot be read as a manifest: {error}") from error
    steps = [(operation.spec, operation.of, operation.name) for operation in operations]
    paths = [os.path.abspath(manifest), os.path.abspath(path)]
    content = json.dumps([paths, state.st_size, state.st_mtime_ns, steps, base])
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _read_manifest(manifest: Path, folder: Path, base: str, workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Copy the manifest's rows into the workspace, and return the statistics of its granularities."""
    if (stored := workspace.find_result(_READ_STEP)) is not None:
        log.info("%s: continuing where the last run stopped", manifest)
        return stored
    statistics: dict[str, Statistics] = {}
    try:
        for page in pages(_with_granularity(manifest, folder, base), PAGE_ROWS):
            workspace.add_origins((origin, row.split) for row in page for origin in origins(row))
            for row in page:
                statistics.setdefault(row.meta["granularity"], Statistics()).add(row)
            workspace.add(map(_stored_row, page))
    except DataError as error:
        raise DataError(str(error) if str(manifest) in str(error) else f"{manifest}: {error}") from error
    if not statistics:
        raise DataError(f"{manifest}: contains no rows")
    document = {name: values.to_json() for name, values in statistics.items()}
    workspace.finish(_READ_STEP, document)
    return document


def _with_granularity(manifest: Path, folder: Path, base: str) -> Iterator[Row]:
    """Yield the manifest's rows with a granularity, and with paths relative to another folder."""
    for _, row in iter_manifest(manifest):
        moved, granularity = rebased(row, manifest.parent, folder), row.meta.get("granularity")
        if granularity is None:
            yield replace(moved, meta={**moved.meta, "granularity": base})
        elif isinstance(granularity, str) and granularity.strip():
            yield moved
        else:
            raise DataError(f"row {row.id!r}: meta.granularity must be a non-empty string, not {granularity!r}")


def _stored_row(row: Row) -> StoredRow:
    return StoredRow(row.meta["granularity"], row.id, row.split, source_key(row), source_start(row), row_line(row))


def _check_leaks(manifest: Path, workspace: Workspace, allowed: bool) -> int:
    count, first = workspace.shared_origins(MAX_LISTED)
    if count and not allowed:
        examples = [f"{source} in {splits}" for source, splits in first]
        if count > MAX_LISTED:
            examples.append("...")
        raise DataError(
            f"{manifest}: {count} source videos are in several splits ({'; '.join(examples)}), so rows made from one "
            "split would describe videos of another; fix the splits, or allow it with --shared-sources"
        )
    return count


def _make_level(level: Level, workspace: Workspace, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make one granularity unless it is complete already; return its statistics and what was left out."""
    if (result := workspace.find_result(level.name)) is None:
        statistics, left_out = Statistics(), LeftOut()

        def entries() -> Iterator[StoredRow]:
            """Yield the rows to store, and count each."""
            for row in make_rows(level, workspace, folder, left_out):
                statistics.add(row)
                yield _stored_row(row)

        workspace.add(entries())
        result = {"figures": statistics.to_json(), "left_out": left_out.to_json()}
        workspace.finish(level.name, result)
    if not result["figures"]["rows"]:
        reasons = "; ".join(f"{reason}: {entry['count']}" for reason, entry in result["left_out"].items())
        raise DataError(f"{level.operation.spec} makes no rows from {level.of} ({reasons or 'it has no rows'})")
    return result["figures"], result["left_out"]


def _select_written(names: Sequence[str], leave_out: Collection[str]) -> list[str]:
    for name in leave_out:
        if name not in names:
            raise UsageError(f"--leave-out: unknown granularity {name!r}; choose from {', '.join(names)}")
    written = [name for name in names if name not in leave_out]
    if not written:
        raise UsageError("--leave-out leaves nothing to write")
    return written


def _sample(workspace: Workspace, levels: Sequence[Level]) -> list[CompressedPair]:
    pairs = []
    for level in levels:
        for line in workspace.sample(level.name, MAX_SAMPLE_PAIRS):
            short = Row.from_json(json.loads(line))
            long = workspace.find_line(short.meta["of"])
            assert long is not None
            pairs.append(CompressedPair(level.name, Row.from_json(json.loads(long)), short))
    return pairs
