"""Weights of a manifest's synthetic videos: scored by VQA models, written into the rows (SynViTA, Eq. 4).

The models are asked one after another, each loaded, asked about all videos and let go, so an ensemble needs no more
memory than its largest model. What was scored is kept on disk: a stop loses nothing, another strategy costs nothing.

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
from mova.data.synthetic_weights import Array, Strategy, ensemble, weights_of
from mova.errors import DataError, UsageError, VideoError
from mova.models.entailment import EntailmentModel
from mova.models.registry import load_video_llm
from mova.models.video_llm.prompt import Question
from mova.text_to_video.score_cache import ScoreCache, Scorer, cached_scores
from mova.video.reader import read_count

FRAMES = 4
"""Of a video, as in the paper."""
RULE = "segment_midpoint"
"""How they lie (`video/sampling.py`), where the paper says "uniformly sampled": in the middle of equal segments."""
Progress = Callable[[str, int, int], None]
"""(model, videos done, videos in all)."""


class FigureScorer:
    """VQAScore over frames: the mean of P(Yes) for "Does this figure show [t]?" (Lin et al. 2024, arXiv 2404.01291).

    Args:
        model: a video or image LLM.
        frames: how many of a video.
        question: about one image; the shipped "figure" if left out.
    """

    def __init__(self, model: EntailmentModel, frames: int = FRAMES, question: Question | None = None) -> None:
        if frames < 1:
            raise UsageError(f"at least one frame must be looked at, not {frames}")
        self.model, self.frames, self.question = model, frames, question or Question.named("figure")

    @property
    def key(self) -> str:
        """Stands for all that changes a score, as the cache wants it."""
        return f"{self.model.fingerprint()} {self.question} {self.frames} {RULE}"

    def __call__(self, video: Path, texts: Sequence[str], /) -> Sequence[float]:
        """(K,) scores of K texts.

        Raises:
            VideoError: the file cannot be read.
        """
        shown = read_count(video, self.frames, rule=RULE)
        found: list[float] = self.model.figure_scores(shown, texts, question=self.question).mean(dim=0).tolist()
        return found


Loader = Callable[[], tuple[str, Scorer]]
"""Loads a model: the key under which its scores are cached, and the model."""


def figure_loader(name: str, frames: int = FRAMES, question: Question | None = None, **options: Any) -> Loader:
    """Loads a video or image LLM by name; options as for `VideoLLM.from_pretrained`."""

    def load() -> tuple[str, Scorer]:
        scorer = FigureScorer(load_video_llm(name, **options), frames, question)
        return scorer.key, scorer

    return load


@dataclass(frozen=True, eq=False)
class Case:
    """A synthetic video of a negative caption, and both captions.

    Attributes:
        row: place of its row.
        at: its place among the row's synthetic videos.
        video: the file.
        negative: t^s, which it was rendered from.
        positive: t^r, the caption of the real video.
        misalignment: how they differ; None where not known.
    """

    row: int
    at: int
    video: Path
    negative: str
    positive: str
    misalignment: str | None


@dataclass
class Weighed:
    """Rows with weights, and what they follow from.

    Attributes:
        rows: all rows, in order.
        cases: n videos that have a weight.
        own, other, weights: (n,).
        broken: (video, cause) of videos that cannot be read; they keep no weight.
        positives: videos of positive captions, which no weight is defined for.
    """

    rows: list[Row]
    cases: list[Case]
    own: Array
    other: Array
    weights: Array
    broken: list[tuple[str, str]] = field(default_factory=list)
    positives: int = 0


def weigh(
    rows: Sequence[Row],
    folder: str | Path,
    models: Mapping[str, Loader],
    strategy: Strategy = "difference",
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
) -> Weighed:
    """Weights of all synthetic videos of a manifest's negatives.

    Args:
        rows: with synthetic videos.
        folder: that their paths are relative to.
        models: the ensemble, by name.
        strategy: see `weights_of`.
        cache: of scores.
        progress: told after every video of every model.

    Raises:
        UsageError: no models, or no such strategy.
        DataError: no synthetic video of a negative; a row with one and not exactly one caption; or no video is left.
    """
    if not models:
        raise UsageError("an ensemble needs at least one VQA model")
    weights_of([], [], strategy)
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
    good = [i for i, case in enumerate(cases) if case.video not in broken]
    if not good:
        raise DataError(f"none of {len(cases)} synthetic videos can be read: {next(iter(broken.items()))}")
    own, other = ensemble(scores[:, good]).T
    weights = weights_of(own, other, strategy)
    kept = [cases[i] for i in good]
    told = {"strategy": strategy, "models": list(models)}
    named = [(str(video), cause) for video, cause in broken.items()]
    lost = {(case.row, case.at): broken[case.video] for case in cases if case.video in broken}
    written = _written(rows, kept, own, other, weights, told, lost)
    return Weighed(written, kept, own, other, weights, named, positives)


def _cases(rows: Sequence[Row], folder: Path) -> tuple[list[Case], int]:
    cases, positives = [], 0
    for place, row in enumerate(rows):
        for at, video in enumerate(synthetic_videos(row)):
            if video.role == "positive":
                positives += 1
                continue
            if len(row.captions) != 1:
                raise DataError(
                    f"row {row.id!r} has synthetic videos of negatives and {len(row.captions)} captions; it needs one, "
                    "to know whose negatives they are"
                )
            text = row.captions[0].text
            cases.append(Case(place, at, folder / video.video, video.text, text, video.misalignment))
    if not cases:
        raise DataError("there is no synthetic video of a negative; `mova data synthesize` makes them")
    return cases, positives


def _written(
    rows: Sequence[Row],
    cases: Sequence[Case],
    own: Array,
    other: Array,
    weights: Array,
    told: Mapping[str, Any],
    lost: Mapping[tuple[int, int], str],
) -> list[Row]:
    """Rows with weights; videos without one lose the weight that they may have had, and `lost` ones say why."""
    videos: list[list[Synthetic]] = [
        [replace(each, weight=None, weighing={}) for each in synthetic_videos(row)] for row in rows
    ]
    for case, mine, others, weight in zip(cases, own.tolist(), other.tolist(), weights.tolist(), strict=True):
        kept = videos[case.row]
        kept[case.at] = replace(kept[case.at], weight=weight, weighing={"own": mine, "other": others, **told})
    for (row, at), cause in lost.items():
        videos[row][at] = replace(videos[row][at], weighing={"broken": cause})
    return [with_synthetic(row, each) for row, each in zip(rows, videos, strict=True)]
