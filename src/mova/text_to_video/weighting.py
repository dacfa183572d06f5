"""Weight the synthetic videos of a manifest by scores of VQA models: SynViTA (Zanella et al. 2025), Eq. 4.

The models run one after another: each is loaded, scores all videos and is freed, so an ensemble needs no more memory
than its largest model. Scores are cached on disk, so an interrupted run loses nothing and another strategy is free.

Shape legend: M models, n videos, K texts, T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mova.data.manifest import Row
from mova.data.synthetic import Synthetic, synthetic_videos, with_synthetic
from mova.data.synthetic_weights import Scores, Strategy, compute_weights, ensemble
from mova.errors import DataError, UsageError, VideoError
from mova.models.entailment import EntailmentModel
from mova.models.registry import load_video_llm
from mova.models.video_llm.prompt import Question
from mova.text_to_video.score_cache import ScoreCache, Scorer, cached_scores
from mova.video.reader import read_count

FRAMES = 4
"""Frames per video, as in the paper."""
RULE = "segment_midpoint"
"""Sampling rule (`video/sampling.py`) for the paper's "uniformly sampled": the middle of equal segments."""
Progress = Callable[[str, int, int], None]
"""Called with (model, videos finished, total videos)."""


class FigureScorer:
    """VQAScore over frames: the mean of P(Yes) for "Does this figure show [t]?" (Lin et al. 2024, arXiv 2404.01291).

    Args:
        model: a video or image LLM.
        frames: number of frames per video.
        question: question about one image (default: the shipped "figure").
    """

    def __init__(self, model: EntailmentModel, frames: int = FRAMES, question: Question | None = None) -> None:
        if frames < 1:
            raise UsageError(f"at least one frame is needed, not {frames}")
        self.model, self.frames, self.question = model, frames, question or Question.named("figure")

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


Loader = Callable[[], tuple[str, Scorer]]
"""Loads a model; returns its cache key and the scorer."""


def figure_loader(name: str, frames: int = FRAMES, question: Question | None = None, **options: Any) -> Loader:
    """Return a loader of a video or image LLM; options as for `mova.models.registry.load_video_llm`."""

    def load() -> tuple[str, Scorer]:
        scorer = FigureScorer(load_video_llm(name, **options), frames, question)
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


def weigh(
    rows: Sequence[Row],
    folder: str | Path,
    models: Mapping[str, Loader],
    strategy: Strategy = "difference",
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
) -> WeighResult:
    """Weight all synthetic videos of a manifest's negatives.

    Args:
        rows: rows with synthetic videos.
        folder: base folder of their paths.
        models: the ensemble, by name.
        strategy: see `compute_weights`.
        cache: cache of scores, optional.
        progress: called after every video of every model.

    Raises:
        UsageError: no models, or an unknown strategy.
        DataError: no synthetic video of a negative, a row with one but not exactly one caption, or no readable video.
    """
    if not models:
        raise UsageError("an ensemble needs at least one VQA model")
    compute_weights([], [], strategy)
    cases, positives = _cases(rows, Path(folder))
    broken: dict[Path, str] = {}
    scores = np.full((len(models), len(cases), 2), np.nan)
    for m, (name, load) in enumerate(models.items()):
        key, scorer = load()
        for i, case in enumerate(cases):
            if case.video not in broken:
                try:
                    pair = cached_scores(case.video, [case.negative, case.positive], {key: scorer}, cache)
                    scores[m, i] = pair[0]
                except (VideoError, OSError) as error:
                    broken[case.video] = error.cause if isinstance(error, VideoError) else str(error)
            if progress is not None:
                progress(name, i + 1, len(cases))
        del scorer
        torch.cuda.empty_cache()
    readable = [i for i, case in enumerate(cases) if case.video not in broken]
    if not readable:
        video, cause = next(iter(broken.items()))
        raise DataError(f"none of {len(cases)} synthetic videos can be read; the first is {video}: {cause}")
    own, other = ensemble(scores[:, readable]).T
    weights = compute_weights(own, other, strategy)
    kept = [cases[i] for i in readable]
    origin = {"strategy": strategy, "models": list(models)}
    causes = [(str(video), cause) for video, cause in broken.items()]
    unreadable = {(case.row, case.at): broken[case.video] for case in cases if case.video in broken}
    weighted = _with_weights(rows, kept, own, other, weights, origin, unreadable)
    return WeighResult(weighted, kept, own, other, weights, causes, positives)


def _cases(rows: Sequence[Row], folder: Path) -> tuple[list[Case], int]:
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
            cases.append(Case(index, at, folder / video.video, video.text, text, video.misalignment))
    if not cases:
        raise DataError("no synthetic videos of negatives; create them with `mova data synthesize`")
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
