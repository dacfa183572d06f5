"""Alignments of captions with videos: cases with known spans, and measures.

Shape legend: K sentences, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mova.scoring.decoders import best_first
from mova.scoring.timeline_decoder import PRESENT
from mova.types import ScoredSpan, Span

Array = npt.NDArray[np.float64]
BINS = 10
DRAWS = 200


@dataclass(frozen=True, eq=False)
class Case:
    """A video with a caption whose true spans are known; a foreign sentence has none."""

    frames: torch.Tensor
    times: Array
    duration: float
    sentences: tuple[str, ...]
    vectors: torch.Tensor
    truth: tuple[tuple[Span, ...], ...]

    @property
    def cell(self) -> float:
        """Seconds per frame."""
        return self.duration / len(self.times)

    def reordered(self, order: Sequence[int]) -> Case:
        """Return the case with its sentences in another order."""
        picked = [*order]
        texts, truth = tuple(self.sentences[i] for i in picked), tuple(self.truth[i] for i in picked)
        return replace(self, sentences=texts, vectors=self.vectors[picked], truth=truth)

    def with_foreign(self, others: Sequence[Case], rng: np.random.Generator) -> Case:
        """Return the case with as many sentences of other videos mixed in as it has."""
        case = self
        for _ in self.sentences:
            other = others[int(rng.integers(len(others)))]
            k, at = int(rng.integers(len(other.sentences))), int(rng.integers(len(case.sentences) + 1))
            texts, truth = [*case.sentences], [*case.truth]
            texts.insert(at, other.sentences[k])
            truth.insert(at, ())
            vectors = torch.cat([case.vectors[:at], other.vectors[k : k + 1], case.vectors[at:]])
            case = replace(case, sentences=tuple(texts), vectors=vectors, truth=tuple(truth))
        return case

    def inside(self, spans: Sequence[Span]) -> npt.NDArray[np.bool_]:
        """Return which frames are in any of the spans, (T,)."""
        mask = np.zeros(len(self.times), dtype=bool)
        for span in spans:
            mask |= (self.times >= span.start - 1e-6) & (self.times < span.end - 1e-6)
        return mask


Spans = Sequence[Sequence[ScoredSpan]]


class Tally:
    """Measures over all sentences of many videos."""

    def __init__(self) -> None:
        self.overlaps: list[float] = []
        self.shared = self.predicted = self.true = self.spans = 0
        self.posteriors: list[Array] = []
        self.shown: list[tuple[float, bool]] = []

    def add(self, case: Case, spans: Spans, posterior: Any = None, shown: Any = None) -> None:
        """Count one video."""
        for k, (found, truth) in enumerate(zip(spans, case.truth, strict=True)):
            predicted, true = case.inside([s.span for s in found]), case.inside(truth)
            self.shared += int((predicted & true).sum())
            self.predicted += int(predicted.sum())
            self.true += int(true.sum())
            if truth:
                self.spans += len(found)
                best = next(iter(best_first(found)), None)
                self.overlaps.append(0.0 if best is None else max(best.span.iou(span) for span in truth))
            if posterior is not None:
                self.posteriors.append(np.stack([posterior[k], true]))
                self.shown.append((float(shown[k]), bool(truth)))

    def extend(self, other: Tally) -> None:
        """Add the counts of other videos."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def row(self) -> dict[str, float]:
        """Return all measures of localization, rounded."""
        iou = np.array(self.overlaps)
        values = {"mIoU": iou.mean(), **{f"R@{level}": (iou >= level).mean() for level in (0.3, 0.5, 0.7)}}
        values["frame F1"] = 2 * self.shared / max(1, self.predicted + self.true)
        values["spans per sentence"] = self.spans / len(iou)
        return {name: round(float(value), 3) for name, value in values.items()}

    def calibration_error(self, least: float = 0.0) -> float:
        """Return the expected calibration error over pairs of a frame and a sentence with at least some posterior."""
        posterior, true = np.concatenate(self.posteriors, axis=1)
        return _calibration_error(posterior, true, least)

    def calibrated_forecast(self, least: float = 0.0) -> tuple[float, float]:
        """Return the mean calibration error that calibrated posteriors would have here, and its 95th percentile.

        The frames of a sentence are right or wrong together, so that the error of few sentences is not small. In each
        of `DRAWS` draws, a sentence is true of the frames whose posterior is above one uniform number: every posterior
        is then exactly the probability of being true.
        """
        rng = np.random.default_rng(0)
        rows = [posterior for posterior, _ in self.posteriors]
        everything, errors = np.concatenate(rows), []
        for _ in range(DRAWS):
            true = np.concatenate([posterior > rng.random() for posterior in rows])
            errors.append(_calibration_error(everything, true, least))
        return float(np.mean(errors)), float(np.quantile(errors, 0.95))

    def reported_absent(self) -> tuple[float, float]:
        """Return the share of foreign sentences that are reported as absent, and the share of the others."""
        shown, present = np.array(self.shown).T
        absent = shown < PRESENT
        return float(absent[present == 0].mean()), float(absent[present == 1].mean())

    def absent_auc(self) -> float:
        """Return how well the probability of being shown separates foreign sentences from those of the video."""
        from sklearn.metrics import roc_auc_score

        scores, present = zip(*self.shown, strict=True)
        return float(roc_auc_score(present, scores))


def _calibration_error(posterior: Array, true: npt.NDArray[Any], least: float) -> float:
    """Return the expected calibration error of posteriors of at least some value, over `BINS` equal bins."""
    posterior, true = posterior[posterior >= least], true[posterior >= least]
    bins = np.minimum((BINS * posterior).astype(int), BINS - 1)
    gaps = np.bincount(bins, posterior - true, minlength=BINS)
    return float(np.abs(gaps).sum()) / max(1, len(posterior))
