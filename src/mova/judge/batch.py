"""Judge many videos: the best of several videos of one prompt, and generators compared over the same prompts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mova.data.pair_list import require_inside, video_folder
from mova.errors import DataError, UsageError, VideoError
from mova.eval.metrics.bootstrap import Interval, bootstrap, paired_bootstrap
from mova.judge.judges import Judge
from mova.judge.verdict import Verdict
from mova.utils.tables import read_csv, read_jsonl

VIDEO_COLUMNS = ("video", "videopath", "path")
PROMPT_COLUMNS = ("prompt", "text", "caption")
GENERATOR_COLUMNS = ("generator", "model")
LEAST_PROMPTS = 2
"""Prompts that two generators must share to be compared."""

Progress = Callable[[str, float, float], None]
"""(video, videos done, videos in total), called after each video."""


@dataclass(frozen=True)
class Request:
    """A video and its prompt.

    Attributes:
        video: the video as written in the file.
        path: path of the video.
        prompt: the text.
        generator: what made the video; None if it is not said.

    >>> Request("a.mp4", Path("clips/a.mp4"), "A dog runs.", generator="first").generator
    'first'
    """

    video: str
    path: Path
    prompt: str
    generator: str | None = None


def read_prompts(path: str | Path, videos: str | Path | None = None) -> list[Request]:
    """Read the distinct rows of a CSV file with a header, or of JSON lines.

    Columns: `video` (or `videopath`, `path`), `prompt` (or `text`, `caption`) and optionally `generator` (or `model`).

    Args:
        path: the file.
        videos: folder that video paths are relative to; default: the folder of the file.

    Raises:
        UsageError: the file or the folder does not exist, or the extension is unknown.
        DataError: a row is invalid (the message has its line), a relative path leads out of the folder (unless the
            environment variable `MOVA_MANIFEST_OUTSIDE` is set), or the file has no rows.

    >>> _ = Path("prompts.csv").write_text("video,prompt\\nfilm.mp4,Two black discs shrink.\\n", encoding="utf-8")
    >>> read_prompts("prompts.csv")[0].prompt
    'Two black discs shrink.'
    """
    path = Path(path)
    root = video_folder(path, videos, "prompts")
    rows: Iterator[tuple[str, Any]] = read_csv(path) if path.suffix.lower() == ".csv" else read_jsonl(path)
    requests = [_request(where, row, root) for where, row in rows]
    if not requests:
        raise DataError(f"{path}: has no rows")
    return list(dict.fromkeys(requests))


def _request(where: str, row: Any, root: Path) -> Request:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: must be an object with a video and a prompt")
    video, prompt = _cell(where, row, VIDEO_COLUMNS), _cell(where, row, PROMPT_COLUMNS)
    require_inside(where, video)
    generator = next((str(row[name]).strip() for name in GENERATOR_COLUMNS if row.get(name)), None)
    return Request(video, root / video, prompt, generator or None)


def _cell(where: str, row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the text of the first column that is there.

    Raises:
        DataError: there is none, or it is empty.
    """
    value = next((row[name] for name in names if name in row), None)
    if value is None:
        raise DataError(f"{where}: missing column {names[0]!r} (or {', '.join(map(repr, names[1:]))})")
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {names[0]} is empty")
    return value.strip()


@dataclass
class JudgeReport:
    """Verdicts on many videos.

    Attributes:
        verdicts: one per video that could be judged, in the order of the requests.
        broken: (video, cause) of every video that cannot be read, and of every prompt that cannot be judged.

    >>> JudgeReport().best()
    {}
    """

    verdicts: list[tuple[Request, Verdict]] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)

    def best(self) -> dict[str, Request]:
        """Return the video of the highest score of each prompt that has several videos; the first one if equal."""
        by_prompt: dict[str, list[tuple[Request, Verdict]]] = defaultdict(list)
        for request, verdict in self.verdicts:
            by_prompt[request.prompt].append((request, verdict))
        several = {prompt: rows for prompt, rows in by_prompt.items() if len({r.path for r, _ in rows}) > 1}
        return {prompt: max(rows, key=lambda row: row[1].score)[0] for prompt, rows in several.items()}

    def by_video(self) -> dict[str, float]:
        """Return the score of each video, the mean if it has several prompts."""
        scores: dict[str, list[float]] = defaultdict(list)
        for request, verdict in self.verdicts:
            scores[request.video].append(verdict.score)
        return {video: float(np.mean(values)) for video, values in scores.items()}

    def generators(self) -> dict[str, Interval]:
        """Return the mean score of each generator over its prompts, with a bootstrap interval over prompts."""
        return {name: bootstrap(list(scores.values())) for name, scores in self._by_generator().items()}

    def prompts(self) -> dict[str, int]:
        """Return the number of prompts of each generator; a single one has no interval."""
        return {name: len(scores) for name, scores in self._by_generator().items()}

    def comparisons(self) -> dict[tuple[str, str], Interval]:
        """Return for each two generators the second's mean minus the first's, over the prompts of both.

        Intervals are by paired bootstrap over prompts. Generators that share fewer than two prompts are left out.
        """
        scores = self._by_generator()
        found = {}
        for first, second in combinations(scores, 2):
            shared = [prompt for prompt in scores[first] if prompt in scores[second]]
            if len(shared) >= LEAST_PROMPTS:
                one, other = ([scores[name][prompt] for prompt in shared] for name in (first, second))
                found[first, second] = paired_bootstrap(one, other)
        return found

    def _by_generator(self) -> dict[str, dict[str, float]]:
        """Return generator -> prompt -> mean score of its videos."""
        lists: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for request, verdict in self.verdicts:
            if request.generator is not None:
                lists[request.generator][request.prompt].append(verdict.score)
        return {
            name: {prompt: float(np.mean(scores)) for prompt, scores in prompts.items()}
            for name, prompts in lists.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return the document of `mova judge --prompts --json`."""
        return {
            "verdicts": [
                {**verdict.to_json(), "video": request.video, "generator": request.generator}
                for request, verdict in self.verdicts
            ],
            "best": [{"prompt": prompt, "video": request.video} for prompt, request in self.best().items()],
            "generators": {name: interval.to_json() for name, interval in self.generators().items()},
            "comparisons": [
                {"first": first, "second": second, **interval.to_json()}
                for (first, second), interval in self.comparisons().items()
            ],
            "broken": [{"video": video, "cause": cause} for video, cause in self.broken],
        }


def judge_all(judge: Judge, requests: Sequence[Request], progress: Progress | None = None) -> JudgeReport:
    """Judge every request; a video that cannot be read is reported and skipped.

    >>> from mova.judge.judges import load_judge
    >>> requests = [Request(name, Path(name), "Two black discs shrink.") for name in ("film.mp4", "x.mp4")]
    >>> report = judge_all(load_judge("mova-worlds-tiny"), requests)
    >>> len(report.verdicts), report.broken[0][0]
    (1, 'x.mp4')
    """
    report = JudgeReport()
    for done, request in enumerate(requests, start=1):
        try:
            verdict = judge.judge(request.path, request.prompt)
            report.verdicts.append((request, replace(verdict, timeline=None)))
        except VideoError as error:
            report.broken.append((request.video, error.cause))
        except (UsageError, MemoryError, OSError) as error:
            report.broken.append((request.video, f"cannot be judged: {error or type(error).__name__}"))
        if progress is not None:
            progress(request.video, done, len(requests))
    return report
