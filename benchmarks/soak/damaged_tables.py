"""Damage tables, documents and texts at random, and read them: only errors of mova may escape from any reader.

A damaged file has changed bytes or, where it is JSON or CSV, changed values:
missing, of another type, not finite, beyond measure, nested deeply, with a byte-order mark, in another encoding.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import harness
from benchmarks.common.table_seeds import Reader, readers

MUTANTS, QUICK = 2500, 300
SLOW = 5.0
"""Seconds; reading a small damaged file must not take longer."""
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2, 10**400, 1e308, -0.5, float("nan"), float("inf"), 2**63, 10**18),
    *(
        "",
        " ",
        "nan",
        "None",
        "a",
        "0",
        "1e999",
        "\ud800",
        "\x00",
        "\u2028",
        "../a.mp4",
        "x" * 100_000,
        "-1:00:00",
        "=1+1",
    ),
    *([], {}, [[]], [1], ["a"], [1, 2], [[1, 2]], [None], {"a": 1}, {"": {}}, [[[[1]]]], {"text": 3}, [{}], [[2, 1]]),
)
TOKENS = (
    *(
        b"",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\x00",
        b"\xff",
        b"\xe9",
        b"\r",
        b"\n",
        b"\n\n",
        b'"',
        b"'",
        b",",
        b";",
        b"\t",
        b"nan",
    ),
    *(
        b"[" * 100_000,
        b'{"a":' * 2_000,
        b"9" * 5_000,
        b"1" + b"0" * 400,
        b"-->",
        b"<",
        b"{\\",
        b"&a [*a]",
        b"!!int x",
        b"- ",
    ),
    *(b"1e400", b"NaN", b"Infinity", b"null", b"\\ud800", b"x" * 200_000, b"\xed\xa0\x80", b"\xf0\x9f\x98\x80"),
)


@dataclass
class Outcome:
    """What happened to the damaged files.

    Attributes:
        mutants: number of files.
        read: those that were read all the same.
        refused: those that an error of mova refused.
        foreign: those from which another error escaped: the reader, the error, and the call that raised it.
        slow: those that took longer than `SLOW`, with the seconds.
        readers: mutants by reader.
    """

    mutants: int = 0
    read: int = 0
    refused: int = 0
    foreign: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    readers: Counter[str] = field(default_factory=Counter)


def run(mutants: int, seed: int = 0, keep: Path | None = None, skip: Collection[str] = ()) -> Outcome:
    """Read damaged files, in turn with every reader.

    Args:
        mutants: number of files.
        seed: of the random damage.
        keep: folder for the files from which another error escaped.
        skip: names of readers to leave out.
    """
    from mova.errors import MovaError

    outcome = Outcome()
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = {name: reader for name, reader in readers(Path(scratch)).items() if name not in skip}
        for number in range(mutants):
            name = list(known)[number % len(known)]
            files = damaged(known[name], np.random.default_rng([seed, number]))
            folder = Path(scratch) / f"{number:05d}"
            _write(folder, files)
            started = time.perf_counter()
            try:
                known[name].read(folder)
                outcome.read += 1
            except MovaError:
                outcome.refused += 1
            except Exception as error:  # noqa: BLE001  (any other error is what is counted)
                call = traceback.extract_tb(error.__traceback__)[-1]
                outcome.foreign.append(
                    f"{number} {name}: {type(error).__name__}: {error!s:.100} ({call.filename}:{call.lineno})"
                )
                if keep is not None:
                    _write(keep / f"{number:05d}_{name.replace(' ', '_')}_{type(error).__name__}", files)
            seconds = time.perf_counter() - started
            if seconds > SLOW:
                outcome.slow.append(f"{number} {name}: {seconds:.1f} s")
            outcome.mutants += 1
            outcome.readers[name] += 1
    return outcome


def damaged(reader: Reader, rng: np.random.Generator) -> dict[str, bytes]:
    """Return the files of a reader, one of them damaged."""
    files = dict(reader.files)
    name = sorted(files)[int(rng.integers(len(files)))]
    content = files[name]
    kinds = [_bytes_changed, _bytes_changed]
    if name.endswith((".json", ".jsonl")) or content[:1] == b"{":
        kinds += [_value_changed] * 6
    if name.endswith((".csv", ".txt")):
        kinds += [_cell_changed] * 4
    for _ in range(1 + int(rng.integers(4) == 0)):
        try:
            content = kinds[int(rng.integers(len(kinds)))](content, rng)
        except (ValueError, IndexError, RecursionError, csv.Error):  # an earlier change made it unreadable
            content = _bytes_changed(content, rng)
    files[name] = content
    return files


def _bytes_changed(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 40))
    kind = int(rng.integers(8))
    if kind == 0:
        for index in rng.integers(max(len(data), 1), size=length // 4 + 1).tolist():
            data[index : index + 1] = bytes([int(rng.integers(256))])
    elif kind == 1:
        del data[at : at + length]
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        data[at:at] = data[:length]
    elif kind == 4:
        return content.decode("utf-8", "replace").encode(
            ["utf-16", "utf-8-sig", "cp1252", "utf-32"][length % 4], "replace"
        )
    elif kind == 5:
        return TOKENS[int(rng.integers(len(TOKENS)))] + content
    else:
        data[at : at + length * (kind == 6)] = TOKENS[int(rng.integers(len(TOKENS)))]
    return bytes(data)


def _value_changed(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace, remove or rename one value of a JSON document, or of one line of it."""
    text = content.decode("utf-8")
    try:
        document, lines = json.loads(text), [""]
    except ValueError:
        lines = text.splitlines()
        document = json.loads(lines[0])
    holder = {"root": document}
    paths = list(_paths(holder))
    container, key = paths[int(rng.integers(len(paths)))]
    kind = int(rng.integers(6))
    if kind == 0 and container is not holder:
        del container[key]
    elif kind == 1 and isinstance(container, dict) and container is not holder:
        container[f"{key}x"] = container.pop(key)
    elif kind == 2 and isinstance(container, list):
        container.append(container[key])
    else:
        container[key] = VALUES[int(rng.integers(len(VALUES)))]
    return "\n".join([json.dumps(holder["root"]), *lines[1:]]).encode() + b"\n"


def _paths(container: Any) -> Any:
    """Yield (container, key) of every value in a document."""
    for key in list(container) if isinstance(container, dict) else range(len(container)):
        yield container, key
        if isinstance(container[key], list | dict):
            yield from _paths(container[key])


def _cell_changed(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace, remove or double a cell or a line of a table."""
    rows = list(csv.reader(io.StringIO(content.decode("utf-8"))))
    row = rows[int(rng.integers(len(rows)))]
    kind, at = int(rng.integers(6)), int(rng.integers(max(len(row), 1)))
    value = VALUES[int(rng.integers(len(VALUES)))]
    cell = value if isinstance(value, str) else json.dumps(value)
    if kind == 0:
        rows.append(row)
    elif kind == 1:
        rows.remove(row)
    elif kind == 2 and row:
        del row[at]
    else:
        row[at : at + 1] = [cell]
    out = io.StringIO()
    csv.writer(out, delimiter=";" if rng.integers(8) == 0 else ",").writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def main() -> None:
    """Damage and read the files; print and record the counts."""
    parser = harness.runs_parser(__doc__)
    parser.add_argument("--keep", type=Path, default=None, help="folder for the files that raise other errors")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    report = harness.Report("damaged_tables", [args.seed])
    outcome = run(QUICK if args.quick else MUTANTS, args.seed, args.keep)
    report.row(name="damaged files", count=outcome.mutants)
    report.row(name="readers", count=len(outcome.readers))
    report.row(name="read all the same", count=outcome.read)
    report.row(name="refused with an error of mova", count=outcome.refused)
    for failure in [*outcome.foreign, *outcome.slow]:
        report.row(name=failure, count=1)
    report.claim("no other error escapes", len(outcome.foreign), 0, not outcome.foreign)
    report.claim(f"no file takes longer than {SLOW:g} seconds", len(outcome.slow), 0, not outcome.slow)
    accounted = outcome.read + outcome.refused + len(outcome.foreign)
    report.claim("every file is accounted for", accounted, outcome.mutants, accounted == outcome.mutants)
    report.finish()


if __name__ == "__main__":
    main()
