"""Agreement of a judge with ratings by people, as T2VScore measures it (Wu et al. 2024, arXiv 2401.07781).

Each video has one or more ratings. Their mean is compared with the judge's score by rank correlation over videos.

Shape legend: V videos.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mova.errors import UsageError
from mova.eval.metrics.agreement import correlation_interval, kendall, spearman
from mova.eval.metrics.bootstrap import Interval
from mova.eval.ratings import LEAST_VIDEOS, read_rated


@dataclass(frozen=True)
class Agreement:
    """Agreement over the videos that have both a score and a rating.

    Attributes:
        videos: how many.
        ratings: number of ratings of these videos.
        spearman, kendall: rank correlations (rho, tau-b) with bootstrap intervals over videos. `p` is the two-sided
            share of random assignments of ratings to videos that correlate as strongly.
        unrated: videos with a score and no rating.
        unknown: rated videos without a score.

    >>> scores = {f"{n}.mp4": float(n) for n in range(8)}
    >>> agreement(scores, {video: [2 * score, 2 * score + 1] for video, score in scores.items()}).spearman.value
    1.0
    """

    videos: int
    ratings: int
    spearman: Interval
    kendall: Interval
    unrated: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return {
            "videos": self.videos,
            "ratings": self.ratings,
            "spearman": self.spearman.to_json(),
            "kendall": self.kendall.to_json(),
            "unrated": list(self.unrated),
            "unknown": list(self.unknown),
        }


def read_ratings(path: str | Path) -> dict[str, list[float]]:
    """Read the ratings of videos: T2VScore's JSON, or a table (CSV, JSON lines) with many rows per video.

    Columns: `video` (or `videopath`), and `rating`, `score`, `mos` or `alignment`. Rows without a rating are left out.

    Raises:
        UsageError: the file does not exist, or the extension is unknown.
        DataError: a column is missing, a rating is not a finite number, or there are no ratings.

    >>> _ = Path("ratings.csv").write_text("video,rating\\na.mp4,4\\na.mp4,5\\n", encoding="utf-8")
    >>> read_ratings("ratings.csv")
    {'a.mp4': [4.0, 5.0]}
    """
    return {video: list(rated.ratings) for video, rated in read_rated(path).items()}


def agreement(scores: Mapping[str, float], ratings: Mapping[str, list[float]], seed: int = 0) -> Agreement:
    """Compare scores with ratings, by video.

    Args:
        scores: video -> score.
        ratings: video -> ratings. Names that do not match as written are compared by file name.
        seed: seed of the draws.

    Raises:
        UsageError: fewer than `LEAST_VIDEOS` videos have both, or all scores or ratings are equal.

    >>> rated = agreement({f"{n}.mp4": n for n in range(9)}, {f"x/{n}.mp4": [-n] for n in range(9)})
    >>> rated.kendall.value, rated.kendall.p < 0.01
    (-1.0, True)
    """
    pairs = pair_with_ratings(scores, ratings)
    both = {video: rated for video, rated in pairs.items() if rated is not None}
    x = np.array([scores[video] for video in both], dtype=np.float64)
    y = np.array([np.mean(ratings[rated]) for rated in both.values()], dtype=np.float64)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise UsageError("all scores or all ratings are equal, so they have no order to agree on")
    used = set(both.values())
    return Agreement(
        len(both),
        sum(len(ratings[rated]) for rated in used),
        correlation_interval(spearman, x, y, seed),
        correlation_interval(kendall, x, y, seed),
        tuple(video for video, rated in pairs.items() if rated is None),
        tuple(video for video in ratings if video not in used),
    )


def pair_with_ratings(videos: Iterable[str], ratings: Mapping[str, list[float]]) -> dict[str, str | None]:
    """Return for each video the name under which it is rated, or None.

    Raises:
        UsageError: fewer than `LEAST_VIDEOS` are rated, or a file name stands for several videos.

    >>> pair_with_ratings(["a.mp4", *(f"{n}.mp4" for n in range(5))], {f"x/{n}.mp4": [1.0] for n in range(5)})["4.mp4"]
    'x/4.mp4'
    """
    listed = list(dict.fromkeys(videos))
    rated_as, videos_of = _by_file_name(ratings), _by_file_name(video for video in listed if video not in ratings)
    pairs: dict[str, str | None] = {video: video if video in ratings else None for video in listed}
    for name, same in videos_of.items():
        found = rated_as.get(name, [])
        if len(found) > 1 or (found and len(same) > 1) or (found and found[0] in pairs):
            raise UsageError(
                f"{name}: the ratings do not say which video is meant ({', '.join([*found, *same][:4])}); write the "
                "paths of the videos in the file of ratings as in --prompts"
            )
        pairs[same[0]] = found[0] if found else None
    rated = sum(name is not None for name in pairs.values())
    if rated < LEAST_VIDEOS:
        raise UsageError(f"only {rated} of {len(pairs)} videos have a rating; at least {LEAST_VIDEOS} are needed")
    return pairs


def _by_file_name(videos: Iterable[str]) -> dict[str, list[str]]:
    """Return file name -> the videos that have it."""
    found: dict[str, list[str]] = defaultdict(list)
    for video in videos:
        found[Path(video).name].append(video)
    return found
