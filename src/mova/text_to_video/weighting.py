"""Weight the synthetic videos of a manifest by scores of VQA models: SynViTA (Zanella et al. 2025), Eq. 4.

The models run one after another: each is loaded, scores all videos and is freed, so an ensemble needs no more memory
than its largest model. Scores are cached on disk, so an interrupted run loses nothing and another strategy is free.

Shape legend: M models, n videos, K texts, T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mova.data.manifest import Row
from mova.data.manifest_paths import require_local
from mova.data.synthetic import Synthetic, synthetic_videos, with_synthetic
from mova.data.synthetic_weights import Scores, Strategy, compute_weights, ensemble
from mova.errors import DataError, UsageError, VideoError
from mova.models.entailment import EntailmentModel
from mova.models.judges.base import FigureJudge
from mova.models.registry import load_judge
from mova.models.video_llm.prompt import Question
from mova.text_to_video.parts import Part, joined, read_parts, write_part
from mova.text_to_video.score_batches import Loader, ask_here, ask_on_cluster
from mova.text_to_video.score_cache import ScoreCache, Scorer
from mova.utils.cluster import Cluster
from mova.utils.hashing import digest
from mova.video.reader import read_count

FRAMES = 4
"""Frames per video, as in the paper."""
RULE = "segment_midpoint"
"""Sampling rule (`video/sampling.py`) for the paper's "uniformly sampled": the middle of equal segments."""
STAGE = "weights"
"""Name of the files of parts."""
Progress = Callable[[str, int, int], None]
"""Called with (model, videos finished, total videos)."""


class FigureScorer:
    """VQAScore over frames: the mean of P(Yes) for "Does this figure show [t]?" (Lin et al. 2024, arXiv 2404.01291).

    Args:
        model: a video or image LLM.
        frames: number of frames per video.
        question: question about one image (default: the shipped "figure"; judges have their own form of it).
    """

    def __init__(
        self, model: EntailmentModel | FigureJudge, frames: int = FRAMES, question: Question | None = None
    ) -> None:
        if frames < 1:
            raise UsageError(f"at least one frame is needed, not {frames}")
        self.model, self.frames = model, frames
        own = isinstance(model, FigureJudge) and question in (None, Question.named("figure"))
        self.question = None if own else question or Question.named("figure")

    @property
    def key(self) -> str:
        """Cache key that identifies everything that affects a score."""
        return f"{self.model.fingerprint()} {self.question} {self.frames} {RULE}"

    def __call__(self, video: Path, texts: Sequence[str], /) -> Sequence[float]:
        """Return the scores of K texts, (K,).

        Raises:
            VideoError: the file cannot be read.
        """
        frames = read_count(video, self.frames, rule=RULE)
        scores: list[float] = self.model.figure_scores(frames, texts, question=self.question).mean(dim=0).tolist()
        return scores

    def score_many(self, videos: Sequence[Path], texts: Sequence[Sequence[str]]) -> list[Sequence[float] | VideoError]:
        """Return the scores of several videos, each with K texts of its own; all frames and texts are one batch.

        A video that cannot be read has its error instead.
        """
        frames: dict[int, Any] = {}
        results: list[Sequence[float] | VideoError] = [[] for _ in videos]
        for v, video in enumerate(videos):
            try:
                frames[v] = read_count(video, self.frames, rule=RULE).pixels
            except VideoError as error:
                results[v] = error
        images = [image for v, pixels in frames.items() for _ in texts[v] for image in pixels]
        asked = [text for v, pixels in frames.items() for text in texts[v] for _ in pixels]
        if images:
            scores = self.model.figure_pair_scores(images, asked, question=self.question)
            sizes = [len(texts[v]) * len(pixels) for v, pixels in frames.items()]
            for v, part in zip(frames, scores.split(sizes), strict=True):
                results[v] = part.view(len(texts[v]), -1).mean(dim=1).tolist()
        return results


def figure_loader(name: str, frames: int = FRAMES, question: Question | None = None, **options: Any) -> Loader:
    """Return a loader of a video or image LLM; options as for `mova.models.registry.load_judge`."""

    def load() -> tuple[str, Scorer]:
        scorer = FigureScorer(load_judge(name, **options), frames, question)
        return scorer.key, scorer

    return load


@dataclass(frozen=True, eq=False)
class Case:
    """A synthetic video of a negative caption, and both captions.

    Attributes:
        row: index of its row.
        at: its index among the row's synthetic videos.
        video: the file.
        negative: t^s, the caption it was rendered from.
        positive: t^r, the caption of the real video.
        misalignment: kind of difference; None if unknown.
    """

    row: int
    at: int
    video: Path
    negative: str
    positive: str
    misalignment: str | None


@dataclass
class WeighResult:
    """Rows with weights, and the scores behind them.

    Attributes:
        rows: all rows, in order.
        cases: the n videos with a weight.
        own, other, weights: (n,).
        broken: (video, cause) of videos that cannot be read; they get no weight.
        positives: number of videos of positive captions, for which no weight is defined.
    """

    rows: list[Row]
    cases: list[Case]
    own: Scores
    other: Scores
    weights: Scores
    broken: list[tuple[str, str]] = field(default_factory=list)
    positives: int = 0


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of videos by an ensemble.

    Attributes:
        keys: name of each of M models -> its cache key.
        scores: (M, n, 2), with the video's own caption and the other one; NaN for unreadable videos.
        broken: n causes; None for a video that can be read.
    """

    keys: Mapping[str, str]
    scores: Scores
    broken: tuple[str | None, ...]


def weigh(
    rows: Sequence[Row],
    folder: str | Path,
    models: Mapping[str, Loader],
    strategy: Strategy = "difference",
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
    batch: int = 1,
) -> WeighResult:
    """Weight all synthetic videos of a manifest's negatives.

    Args:
        rows: rows with synthetic videos.
        folder: base folder of their paths.
        models: the ensemble, by name.
        strategy: see `compute_weights`.
        cache: cache of scores, optional.
        progress: called after every batch of every model.
        batch: videos per batch.

    Raises:
        UsageError: no models, or an unknown strategy.
        DataError: no synthetic video of a negative, a row with one but not exactly one caption, or no readable video.
    """
    compute_weights([], [], strategy)
    cases, _ = find_cases(rows, folder)
    return apply_scores(rows, folder, score_cases(cases, models, cache, progress, batch), strategy)


def score_cases(
    cases: Sequence[Case],
    models: Mapping[str, Loader],
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
    batch: int = 1,
    cluster: Cluster | None = None,
) -> Scored:
    """Score n videos with both captions by every model, one model after another; see `weigh`.

    On a cluster, whose nodes see the videos under the same paths, the models are loaded there alone.
    """
    if not models:
        raise UsageError("an ensemble needs at least one VQA model")
    if batch < 1:
        raise UsageError(f"a batch needs at least one video, not {batch}")
    broken: dict[Path, str] = {}
    scores = np.full((len(models), len(cases), 2), np.nan)
    keys: dict[str, str] = {}
    for m, (name, load) in enumerate(models.items()):
        pairs = {
            i: (case.video, [case.negative, case.positive]) for i, case in enumerate(cases) if case.video not in broken
        }
        done = len(cases) - len(pairs)
        asked = ask_here if cluster is None else partial(ask_on_cluster, cluster=cluster)
        for keys[name], numbers, results in asked(pairs, load, cache, batch):
            for i, result in zip(numbers, results, strict=True):
                if isinstance(result, VideoError):
                    broken[cases[i].video] = result.cause
                else:
                    scores[m, i] = result
            done += len(numbers)
            if progress is not None:
                progress(name, done, len(cases))
    return Scored(keys, scores, tuple(broken.get(case.video) for case in cases))


def apply_scores(
    rows: Sequence[Row], folder: str | Path, scored: Scored, strategy: Strategy = "difference"
) -> WeighResult:
    """Return a manifest's rows with the weights that follow from the scores of its cases; see `weigh`."""
    cases, positives = find_cases(rows, folder)
    broken = {case.video: cause for case, cause in zip(cases, scored.broken, strict=True) if cause is not None}
    readable = [i for i, case in enumerate(cases) if case.video not in broken]
    if not readable:
        video, cause = next(iter(broken.items()))
        raise DataError(f"none of {len(cases)} synthetic videos can be read; the first is {video}: {cause}")
    own, other = ensemble(scored.scores[:, readable]).T
    weights = compute_weights(own, other, strategy)
    kept = [cases[i] for i in readable]
    origin = {"strategy": strategy, "models": list(scored.keys)}
    causes = [(str(video), cause) for video, cause in broken.items()]
    unreadable = {(case.row, case.at): broken[case.video] for case in cases if case.video in broken}
    weighted = _with_weights(rows, kept, own, other, weights, origin, unreadable)
    return WeighResult(weighted, kept, own, other, weights, causes, positives)


def save_scores(scored: Scored, part: Part, cases: Sequence[Case], folder: str | Path, **settings: Any) -> Path:
    """Write the scores of a part of the cases into a folder, for `merge_scores`.

    Args:
        scored: of the cases of the part.
        part: which ones.
        cases: all cases.
        folder: of the result.
        settings: all else that decides the scores.
    """
    shared = {**settings, "cases": _digest(cases), "models": dict(scored.keys)}
    values = np.where(np.isnan(scored.scores), -1.0, scored.scores).tolist()
    return write_part(part, folder, STAGE, shared, {"scores": values, "broken": list(scored.broken)})


def merge_scores(cases: Sequence[Case], folder: str | Path, **settings: Any) -> Scored:
    """Join the scores of all parts.

    Raises:
        DataError: a part is missing, or was made of other videos, captions, models or settings.
    """
    shared, contents = read_parts(folder, STAGE, {**settings, "cases": _digest(cases)})
    by_model = [joined([content["scores"][m] for content in contents]) for m in range(len(shared["models"]))]
    scores = np.array(by_model, dtype=np.float64).reshape(len(by_model), -1, 2)
    broken = joined([content["broken"] for content in contents])
    if scores.shape[1] != len(cases) or len(broken) != len(cases):
        raise DataError(f"{folder}: its shards have {scores.shape[1]} scores for {len(cases)} videos; run them again")
    return Scored(shared["models"], np.where(scores < 0, np.nan, scores), tuple(broken))


def _digest(cases: Sequence[Case]) -> str:
    return digest([f"{case.row} {case.at} {case.video.name} {case.negative}\0{case.positive}" for case in cases])


def find_cases(rows: Sequence[Row], folder: str | Path) -> tuple[list[Case], int]:
    """Return the synthetic videos of negatives, in order, and the number of those of positive captions.

    Raises:
        DataError: there are none, one is an object, or a row with one does not have exactly one caption.
    """
    cases, positives = [], 0
    for index, row in enumerate(rows):
        for at, video in enumerate(synthetic_videos(row)):
            if video.role == "positive":
                positives += 1
                continue
            if len(row.captions) != 1:
                raise DataError(
                    f"row {row.id!r} has synthetic videos of negatives and {len(row.captions)} captions; it needs "
                    "exactly one, so that the positive caption is known"
                )
            text = row.captions[0].text
            cases.append(Case(index, at, Path(folder) / video.video, video.text, text, video.misalignment))
    if not cases:
        raise DataError("no synthetic videos of negatives; create them with `mova data synthesize`")
    require_local((video.video for row in rows for video in synthetic_videos(row)), Path(folder))
    return cases, positives


def _with_weights(
    rows: Sequence[Row],
    cases: Sequence[Case],
    own: Scores,
    other: Scores,
    weights: Scores,
    origin: Mapping[str, Any],
    unreadable: Mapping[tuple[int, int], str],
) -> list[Row]:
    """Return rows with weights; previous weights are cleared, and `unreadable` videos record the cause instead."""
    videos: list[list[Synthetic]] = [
        [replace(video, weight=None, weighing={}) for video in synthetic_videos(row)] for row in rows
    ]
    scored = zip(cases, own.tolist(), other.tolist(), weights.tolist(), strict=True)
    for case, own_score, other_score, weight in scored:
        siblings = videos[case.row]
        weighing = {"own": own_score, "other": other_score, **origin}
        siblings[case.at] = replace(siblings[case.at], weight=weight, weighing=weighing)
    for (row, at), cause in unreadable.items():
        videos[row][at] = replace(videos[row][at], weighing={"broken": cause})
    return [with_synthetic(row, synthetic) for row, synthetic in zip(rows, videos, strict=True)]
