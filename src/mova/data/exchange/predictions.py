"""Predicted moments in the files of two benchmarks: QVHighlights (JSON lines) and ActivityNet (JSON).

QVHighlights, one line per query: `{"qid", "query", "vid", "pred_relevant_windows": [[START, END, SCORE], ...]}`, and
`pred_saliency_scores` (one number per two seconds) where they were predicted. `mova eval matrix` and the benchmark's
own script read it.

ActivityNet: `{"version", "results": {VIDEO: [...]}, "external_data"}`. Each entry has the keys of both challenges:
`sentence` and `timestamp` (captions), and `label`, `segment` and `score` (detection).

The name of a video is that of its file without extension, as in both benchmarks. Times are seconds.

Shape legend: W windows, C clips of two seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mova.data.manifest import write_lines
from mova.data.readers.annotations import without_suffix
from mova.errors import UsageError
from mova.types import Moment, Timeline
from mova.utils.replacing import replacing

SUFFIXES = {".jsonl": "QVHighlights", ".json": "ActivityNet"}


@dataclass(frozen=True)
class Prediction:
    """The predicted windows of one query in one video.

    Attributes:
        id: of the query.
        query: its text.
        video: path or name.
        windows: W of (start, end, score), best first; empty if the video does not show the query.
        saliency: C numbers, or None.

    >>> Prediction("7", "A dog runs.", "films/a.mp4", ((1.0, 2.5, 0.75),)).to_line()
    {'qid': 7, 'query': 'A dog runs.', 'vid': 'a', 'pred_relevant_windows': [[1.0, 2.5, 0.75]]}
    """

    id: str
    query: str
    video: str
    windows: tuple[tuple[float, float, float], ...]
    saliency: tuple[float, ...] | None = None

    @property
    def vid(self) -> str:
        """Name of the video, as in the benchmarks."""
        return without_suffix(Path(self.video).name)

    def to_line(self) -> dict[str, Any]:
        """Return the line of QVHighlights."""
        windows = [[round(start, 3), round(end, 3), round(score, 6)] for start, end, score in self.windows]
        qid = int(self.id) if self.id.isascii() and self.id.isdigit() else self.id
        line: dict[str, Any] = {"qid": qid, "query": self.query, "vid": self.vid, "pred_relevant_windows": windows}
        if self.saliency is not None:
            line["pred_saliency_scores"] = [round(value, 6) for value in self.saliency]
        return line


def of_timeline(timeline: Timeline) -> list[Prediction]:
    """Return one prediction per sentence, numbered from 1; scores are posteriors where they are known.

    >>> import mova
    >>> timeline = mova.load("mova-worlds-tiny").align("film.mp4", "Two black discs shrink.")
    >>> of_timeline(timeline)[0].windows[0][:2]
    (3.0, 6.5)
    """
    predictions = []
    for number, row in enumerate(timeline.sentences, start=1):
        windows = [
            (scored.span.start, scored.span.end, scored.score if scored.posterior is None else scored.posterior)
            for scored in row.spans
        ]
        best_first = tuple(sorted(windows, key=lambda window: -window[2]))
        predictions.append(Prediction(str(number), row.text, timeline.video, best_first))
    return predictions


def of_moments(query: str, moments: Iterable[Moment]) -> list[Prediction]:
    """Return one prediction per video in which moments were found, in the order of the best moment; ids count from 1.

    >>> of_moments("a dog", [Moment("a.mp4", 1.0, 2.0, 0.5), Moment("a.mp4", 7.0, 9.0, 0.25)])[0].windows
    ((1.0, 2.0, 0.5), (7.0, 9.0, 0.25))
    """
    windows: dict[str, list[tuple[float, float, float]]] = {}
    for moment in moments:
        windows.setdefault(moment.video, []).append((moment.start, moment.end, moment.score))
    return [
        Prediction(str(number), query, video, tuple(found))
        for number, (video, found) in enumerate(windows.items(), start=1)
    ]


def check_predictions(path: Path | None) -> None:
    """Raise if a file of predictions has another suffix than `.jsonl` or `.json`.

    Raises:
        UsageError: it has.
    """
    if path is not None and path.suffix.lower() not in SUFFIXES:
        names = " or ".join(f"{suffix} ({name})" for suffix, name in SUFFIXES.items())
        raise UsageError(f"--predictions {path}: the file must end in {names}")


def write_predictions(predictions: Sequence[Prediction], path: str | Path) -> Path:
    """Write predictions: `.jsonl` for QVHighlights, `.json` for ActivityNet.

    Raises:
        UsageError: another suffix.

    >>> found = of_moments("a dog", [Moment("a.mp4", 1.0, 2.0, 0.5)])
    >>> json.loads(write_predictions(found, "found.json").read_text())["results"]["a"][0]["timestamp"]
    [1.0, 2.0]
    """
    target = Path(path)
    check_predictions(target)
    if target.suffix.lower() == ".jsonl":
        return write_lines(target, (json.dumps(item.to_line(), ensure_ascii=False) for item in predictions))
    results: dict[str, list[dict[str, Any]]] = {}
    for item in predictions:
        entries = results.setdefault(item.vid, [])
        for start, end, score in item.to_line()["pred_relevant_windows"]:
            times = [start, end]
            entries.append(
                {"sentence": item.query, "timestamp": times, "label": item.query, "segment": times, "score": score}
            )
    document = {"version": "VERSION 1.0", "results": results, "external_data": {"used": False, "details": ""}}
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    return target
