"""Scores of generated videos against ratings by people: files of both, and their agreement per model and per prompt.

Ratings: T2VScore's JSON, `{"0": {"prompt": ..., "models": {"gen2": [2.2]}}}` (its videos are `gen2/0000.mp4`), or a
table (CSV, JSON lines) with `video`, a rating, and optionally `model` and `prompt`. Scores: VBench's results,
`{"overall_consistency": [mean, [{"video_path": ..., "video_results": ...}]]}`, or a table with `video` (or `model_name`
and `video_id`, as in T2VScore's results) and a column of scores.

Shape legend: V videos.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.data.pair_list import VIDEO_COLUMNS, video_folder
from mova.errors import DataError, UsageError
from mova.eval.metrics.agreement import correlation_interval, kendall, pairwise_accuracy, pearson, spearman
from mova.eval.protocols import Protocol
from mova.eval.report import MetricGroup, Report, ReportHead
from mova.utils.hashing import digest
from mova.utils.tables import is_missing_value, read_csv, read_jsonl
from mova.utils.text_files import parse_json, read_text

RATING_COLUMNS = ("rating", "score", "mos", "alignment")
"""Columns of a table of ratings; the first that is there counts."""
MODEL_COLUMNS, PROMPT_COLUMNS = ("model", "model_name"), ("prompt_id", "prompt")
LEAST_VIDEOS = 5


@dataclass(frozen=True)
class Rated:
    """The ratings of one video, its generator, and its prompt; None where the file does not state them.

    >>> Rated((4.0, 5.0), model="gen2", prompt="7").mean
    4.5
    """

    ratings: tuple[float, ...]
    model: str | None = None
    prompt: str | None = None

    @property
    def mean(self) -> float:
        """The mean rating."""
        return float(np.mean(self.ratings))


def read_rated(path: str | Path) -> dict[str, Rated]:
    """Read the ratings of videos, by the name of the video; a video of a table may have many rows.

    Raises:
        UsageError: the file does not exist, or the extension is unknown.
        DataError: a column is missing, a rating is not a finite number, a video has two models or prompts, or there are
            no ratings.

    >>> _ = Path("ratings.json").write_text('{"0": {"prompt": "a dog", "models": {"gen2": [2.2], "pika": [1.2]}}}')
    >>> read_rated("ratings.json")["gen2/0000.mp4"]
    Rated(ratings=(2.2,), model='gen2', prompt='0')
    """
    path = Path(path)
    video_folder(path, None, "ratings")
    found: dict[str, list[float]] = defaultdict(list)
    about: dict[str, tuple[str | None, str | None]] = {}
    for where, video, model, prompt, value in _t2vscore(path) or _table(path):
        if value is None or not str(value).strip() or is_missing_value(str(value)):
            continue
        found[video].append(_number(where, value, "rating"))
        if about.setdefault(video, (model, prompt)) != (model, prompt):
            raise DataError(f"{where}: {video} has another model or prompt before")
    if not found:
        raise DataError(f"{path}: has no ratings")
    return {video: Rated(tuple(values), *about[video]) for video, values in found.items()}


def read_video_scores(path: str | Path, column: str | None = None) -> dict[str, float]:
    """Read one score per video, by the name of the video.

    Args:
        path: VBench's results (`.json`), or a table (`.csv`, `.jsonl`).
        column: of the table, or VBench's dimension; required if there are several.

    Raises:
        UsageError: no such file, an unknown extension, or several columns and none named.
        DataError: a malformed file, a duplicate video, or a score that is not a number.

    >>> _ = Path("scores.csv").write_text("model_name,video_id,prompt,CLIP Score\\ngen2,0,a dog,24.6\\n")
    >>> read_video_scores("scores.csv")
    {'gen2/0000.mp4': 24.6}
    """
    path = Path(path)
    video_folder(path, None, "scores")
    rows = list(_vbench(path, column) if path.suffix.lower() == ".json" else _scored_rows(path, column))
    scores: dict[str, float] = {}
    for where, video, value in rows:
        if video in scores:
            raise DataError(f"{where}: {video} has two scores")
        scores[video] = _number(where, value, "score")
    if not scores:
        raise DataError(f"{path}: has no scores")
    return scores


def report_ratings(scores: Mapping[str, float], rated: Mapping[str, Rated], protocol: Protocol) -> Report:
    """Report the agreement of scores with mean ratings; all figures times 100.

    Group "all" and a group per model have Spearman's rho, Kendall's tau-b, Pearson's r and the pairwise accuracy with
    ties over videos. Group "per prompt" compares only the videos of one prompt, and averages over prompts.

    Args:
        scores: video -> score.
        rated: video -> ratings. Names that do not match as written are compared by their last two parts
            (`gen2/0000.mp4`), then by the file name.
        protocol: task "ratings".

    Raises:
        UsageError: fewer than `LEAST_VIDEOS` videos have both, or a name stands for several videos.

    >>> from mova.eval.protocols import find_protocol
    >>> rated = {f"gen2/{n:04d}.mp4": Rated((float(n),), "gen2", str(n)) for n in range(9)}
    >>> report = report_ratings({f"{n:04d}.mp4": float(n) for n in range(9)}, rated, find_protocol("ratings"))
    >>> report.groups["all"].figures["Spearman"], list(report.groups)
    (100.0, ['all', 'gen2'])
    """
    pairs = match_videos(rated, scores)
    if len(pairs) < LEAST_VIDEOS:
        raise UsageError(f"only {len(pairs)} of {len(rated)} rated videos have a score; at least {LEAST_VIDEOS} must")
    videos = list(pairs)
    x = np.array([scores[pairs[video]] for video in videos], dtype=np.float64)
    y = np.array([rated[video].mean for video in videos], dtype=np.float64)
    groups = {"all": _agreement(x, y)}
    models = np.array([rated[video].model or "" for video in videos])
    for model in sorted({name for name in models.tolist() if name}):
        if (models == model).sum() >= LEAST_VIDEOS:
            groups[model] = _agreement(x[models == model], y[models == model])
    prompts = [rated[video].prompt for video in videos]
    if all(prompt is not None for prompt in prompts) and len(set(prompts)) < len(prompts):
        groups["per prompt"] = _per_prompt(x, y, prompts)
    described = sorted(f"{video}\t{rated[video].ratings}" for video in videos)
    head = ReportHead.of_scores(protocol, digest(described), digest(videos), len(videos), None)
    unscored, unrated = len(rated) - len(pairs), len(scores) - len(set(pairs.values()))
    return Report(head=head, groups=groups).with_settings(rated_without_score=unscored, scored_without_rating=unrated)


def match_videos(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Return name -> the same video among others: as written, by its last two parts, or by its file name.

    Raises:
        UsageError: a name stands for several of the others, or one of the others for several names.

    >>> match_videos(["gen2/0000.mp4", "pika/0000.mp4"], ["videos/pika/0000.mp4"])
    {'pika/0000.mp4': 'videos/pika/0000.mp4'}
    """
    names, others = list(names), list(others)
    found: dict[str, str] = {}
    for depth in (None, 2, 1):
        used = set(found.values())
        by_key: dict[str, list[str]] = defaultdict(list)
        for other in others:
            if other not in used:
                by_key[_key(other, depth)].append(other)
        wanted: dict[str, list[str]] = defaultdict(list)
        for name in names:
            if name not in found:
                wanted[_key(name, depth)].append(name)
        for key, same in wanted.items():
            candidates = by_key.get(key, [])
            if candidates and (len(candidates) > 1 or len(same) > 1):
                raise UsageError(
                    f"{key}: the ratings do not say which video is meant ({', '.join([*same, *candidates][:4])}); "
                    "write the names of the videos in both files alike"
                )
            if candidates:
                found[same[0]] = candidates[0]
    return {name: found[name] for name in names if name in found}


def _key(name: str, depth: int | None) -> str:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return name if depth is None else "/".join(parts[-depth:])


def _agreement(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> MetricGroup:
    accuracy = pairwise_accuracy(x, y)
    found = (("Spearman", spearman), ("Kendall", kendall), ("Pearson", pearson))
    figures = {name: 100 * float(statistic(x, y)) for name, statistic in found}
    figures["pairwise accuracy"] = 100 * accuracy.value
    intervals = {}
    if np.ptp(x) > 0 and np.ptp(y) > 0:
        for name, statistic in found[:2]:
            plain = correlation_interval(statistic, x, y)
            intervals[name] = replace(plain, value=100 * plain.value, low=100 * plain.low, high=100 * plain.high)
    return MetricGroup(figures, intervals, {}, {"videos": len(x), "pairs": accuracy.pairs})


def _per_prompt(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], prompts: list[str | None]) -> MetricGroup:
    """Mean over prompts with several videos; a prompt whose scores or ratings are all equal has no correlation."""
    places: dict[str | None, list[int]] = defaultdict(list)
    for place, prompt in enumerate(prompts):
        places[prompt].append(place)
    several = [np.array(inside) for inside in places.values() if len(inside) > 1]
    rhos, taus = (np.array([100 * s(x[inside], y[inside]) for inside in several]) for s in (spearman, kendall))
    ordered = ~np.isnan(taus)
    counts = {"prompts": len(several), "without an order": int((~ordered).sum())}
    values = {"Spearman": rhos[ordered], "Kendall": taus[ordered]} if ordered.any() else {}
    accuracy = pairwise_accuracy(x, y, prompts)
    return MetricGroup.of_values(values, counts).with_metric("pairwise accuracy", 100 * accuracy.value)


def _t2vscore(path: Path) -> list[tuple[str, str, str | None, str | None, Any]]:
    """Return (location, video, model, prompt, rating) of T2VScore's JSON; empty for another form."""
    if path.suffix.lower() != ".json":
        return []
    try:
        document = parse_json(read_text(path), str(path), unique=True)
    except DataError:
        return []  # JSON lines
    if not isinstance(document, dict) or not all(isinstance(v, dict) and "models" in v for v in document.values()):
        return []
    rows = []
    for id, entry in document.items():
        where = f"{path}, prompt {id!r}"
        if not isinstance(entry["models"], dict):
            raise DataError(f'{where}: "models" must be {{MODEL: [ratings]}}')
        for model, ratings in entry["models"].items():
            listed = ratings if isinstance(ratings, list) else [ratings]
            rows += [(where, _video_of(model, id), model, id, rating) for rating in listed]
    return rows


def _video_of(model: str, id: str) -> str:
    """Return the name of a video in T2VScore's folders."""
    return f"{model}/{int(id):04d}.mp4" if id.isdecimal() else f"{model}/{id}.mp4"


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for where, row in read_csv(path) if path.suffix.lower() == ".csv" else read_jsonl(path):
        if not isinstance(row, Mapping):
            raise DataError(f"{where}: must be an object with a video and a number")
        yield where, row


def _table(path: Path) -> Iterator[tuple[str, str, str | None, str | None, Any]]:
    for where, row in _rows(path):
        model, prompt = (_optional(row, names) for names in (MODEL_COLUMNS, PROMPT_COLUMNS))
        yield where, str(_cell(where, row, VIDEO_COLUMNS)).strip(), model, prompt, _cell(where, row, RATING_COLUMNS)


def _scored_rows(path: Path, column: str | None) -> Iterator[tuple[str, str, Any]]:
    """Yield (location, video, score) of a table."""
    known = {*VIDEO_COLUMNS, *MODEL_COLUMNS, *PROMPT_COLUMNS, "video_id"}
    for where, row in _rows(path):
        columns = [name for name in row if name not in known]
        name = columns[0] if column is None and len(columns) == 1 else column
        if name is None or name not in row:
            problem = "name one with --column" if name is None else f"there is no column {name!r}"
            raise UsageError(f"{where}: {problem}; the columns of scores are: {', '.join(columns) or 'none'}")
        model, id = _optional(row, MODEL_COLUMNS), row.get("video_id")
        by_id = model is not None and id is not None and not any(video in row for video in VIDEO_COLUMNS)
        yield where, _video_of(model or "", str(id)) if by_id else str(_cell(where, row, VIDEO_COLUMNS)), row[name]


def _vbench(path: Path, column: str | None) -> Iterator[tuple[str, str, Any]]:
    """Yield (location, video, score) of a dimension of VBench's results."""
    document = parse_json(read_text(path), str(path), unique=True)
    if not isinstance(document, dict) or not all(isinstance(v, list) and len(v) == 2 for v in document.values()):
        raise DataError(f'{path}: VBench\'s results expected: {{"DIMENSION": [mean, [{{"video_path": ...}}]]}}')
    name = next(iter(document)) if column is None and len(document) == 1 else column
    if name is None or name not in document:
        problem = "name a dimension with --column" if name is None else f"there is no dimension {name!r}"
        raise UsageError(f"{path}: {problem}; it has {', '.join(document) or 'none'}")
    for number, entry in enumerate(document[name][1], start=1):
        where = f"{path}, dimension {name!r}, video {number}"
        if not isinstance(entry, dict) or not {"video_path", "video_results"} <= entry.keys():
            raise DataError(f'{where}: "video_path" and "video_results" expected')
        yield where, str(entry["video_path"]), entry["video_results"]


def _cell(where: str, row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise DataError(f"{where}: missing column {names[0]!r} (or {', '.join(map(repr, names[1:]))})")
    return row[name]


def _optional(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    name = next((name for name in names if row.get(name) not in (None, "")), None)
    return None if name is None else str(row[name])


def _number(where: str, value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise DataError(f"{where}: the {what} {value!r} is not a number")
    return number
