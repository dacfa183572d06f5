"""Moments and highlights against annotated ones, as QVHighlights measures them (Lei et al., NeurIPS 2021).

Moment retrieval: R1@IoU (the first predicted window against the annotated window it overlaps most) and moment mAP
(interpolated average precision of at most ten windows a query, each annotated window found once, at IoU 0.5, 0.55, ...,
0.95), over all windows and over those of a length: short (0, 10] s, middle (10, 30] s, long (30, 150] s.
Highlights: mAP and HIT@1 of a saliency score for every clip of two seconds against three annotators, where Fair (2),
Good (3) or Very Good (4) counts as right. Ties stand in the order of the file, as in the original; how many queries
they touch is counted. Everything is in percent and not rounded.

Shape legend: P predicted windows, G annotated windows, K thresholds, C clips, A annotators. Windows are (start, end)
in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
LENGTHS = {"short": (0.0, 10.0), "middle": (10.0, 30.0), "long": (30.0, 150.0), "full": (0.0, np.inf)}
"""Name -> (above, up to) seconds of an annotated window."""
SALIENCY = {"Fair": 2, "Good": 3, "VeryGood": 4}
CLIP_SECONDS = 2.0
MOST_WINDOWS = 10


@dataclass(frozen=True, eq=False)
class MomentPrediction:
    """What a model says to one query: windows, best first, (P, 3) as (start, end, score), and (C,) saliency."""

    windows: Array | None
    saliency: Array | None = None


@dataclass(frozen=True, eq=False)
class MomentTruth:
    """What annotators say to one query: windows (G, 2) and, where known, saliency (C, A) of every clip."""

    windows: Array
    saliency: npt.NDArray[np.int64] | None = None


def temporal_iou(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Intersection over union of every window of `a` (P, 2) with every one of `b` (G, 2): (P, G).

    Two windows without length have IoU 0.

    Raises:
        ValueError: a shape, a NaN, or an end before its start.
    """
    first, second = (_windows(w) for w in (a, b))
    low = np.maximum(first[:, None, 0], second[None, :, 0])
    high = np.minimum(first[:, None, 1], second[None, :, 1])
    shared = np.clip(high - low, 0.0, None)
    union = (first[:, 1] - first[:, 0])[:, None] + (second[:, 1] - second[:, 0])[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def first_iou(predicted: npt.ArrayLike, annotated: npt.ArrayLike) -> float:
    """IoU of the first predicted window (of (P, 2)) with the annotated one (of (G, 2)) that it overlaps most."""
    return float(temporal_iou(np.asarray(predicted, dtype=np.float64)[:1, :2], annotated).max())


def moment_average_precision(
    predicted: npt.ArrayLike, annotated: npt.ArrayLike, thresholds: Sequence[float] = THRESHOLDS
) -> Array:
    """Interpolated average precision of one query's windows at each IoU threshold.

    Windows are taken by falling score, equal ones as given. Each takes the annotated window it overlaps most of those
    that are free and reach the threshold; a second window on a taken one is wrong.

    Args:
        predicted: (P, 3), start, end, score; P may be 0.
        annotated: (G, 2), G > 0.

    Returns:
        (K,) in [0, 1].
    """
    found = np.asarray(predicted, dtype=np.float64).reshape(-1, 3)
    if np.isnan(found[:, 2]).any():
        raise ValueError("a predicted window has NaN as its score; windows cannot be ordered by it")
    overlap = temporal_iou(found[np.argsort(-found[:, 2], kind="stable")][:, :2], annotated)
    if not overlap.shape[1]:
        raise ValueError("average precision needs an annotated window")
    return np.array([_one_threshold(overlap, threshold) for threshold in thresholds])


def evaluate_moments(
    predictions: Sequence[MomentPrediction],
    truths: Sequence[MomentTruth],
    thresholds: Sequence[float] = THRESHOLDS,
    most_windows: int = MOST_WINDOWS,
) -> dict[str, dict[str, dict[float | str, float]]]:
    """Moment retrieval by length of the annotated windows.

    Where a length is asked for, a query's other annotated windows are left out, and so are queries without any.

    Args:
        predictions, truths: (Q,), a query each.
        thresholds: of IoU.
        most_windows: so many windows of each query, in the order given, count for mAP.

    Returns:
        length -> {"mAP": {threshold: percent, ..., "average"}, "R1": {threshold: percent}}; a length of which there is
        no annotated window is absent.

    Raises:
        ValueError: lists of different length, none, or a query without predicted windows (named by its place).
    """
    if len(predictions) != len(truths) or not truths:
        raise ValueError(f"{len(predictions)} predictions for {len(truths)} queries")
    for place, prediction in enumerate(predictions):
        if prediction.windows is None or len(prediction.windows) == 0:
            raise ValueError(f"query {place} has no predicted window")
    report: dict[str, dict[str, dict[float | str, float]]] = {}
    for name, (above, upto) in LENGTHS.items():
        precisions, firsts = [], []
        for prediction, truth in zip(predictions, truths, strict=True):
            length = truth.windows[:, 1] - truth.windows[:, 0]
            kept = truth.windows[(length > above) & (length <= upto)]
            if len(kept):
                assert prediction.windows is not None
                precisions.append(moment_average_precision(prediction.windows[:most_windows], kept, thresholds))
                firsts.append(first_iou(prediction.windows, kept))
        if not firsts:
            continue
        mean = 100.0 * np.mean(precisions, axis=0)
        best = np.asarray(firsts)
        report[name] = {
            "mAP": {**dict(zip(thresholds, mean.tolist(), strict=True)), "average": float(mean.mean())},
            "R1": {t: 100.0 * float((best >= t).mean()) for t in thresholds},
        }
    return report


def moment_values(
    predictions: Sequence[MomentPrediction],
    truths: Sequence[MomentTruth],
    thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    most_windows: int = MOST_WINDOWS,
) -> dict[str, list[float]]:
    """What single queries contribute, in percent; queries without an annotated window are left out.

    Args:
        predictions, truths: (Q,), with at least one predicted window each.
        thresholds: of R1; those of Charades-STA and TACoS, which QVHighlights begins at 0.5, if left out.
        most_windows: so many windows of each query count for mAP.

    Returns:
        "R1@IoU" for each threshold, "mIoU" of the first window, and "mAP" over IoU 0.5 to 0.95.
    """
    pairs = [(p.windows, t.windows) for p, t in zip(predictions, truths, strict=True) if len(t.windows)]
    first = np.array([first_iou(_given(windows), right) for windows, right in pairs])
    values = {f"R1@{t}": (100.0 * (first >= t)).tolist() for t in thresholds}
    values["mIoU"] = (100.0 * first).tolist()
    values["mAP"] = [
        100.0 * float(moment_average_precision(_given(windows)[:most_windows], right).mean())
        for windows, right in pairs
    ]
    return values


def highlight_average_precision(scores: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Interpolated average precision of clips, ties grouped: mean precision of the thresholds that add a right one.

    Equal scores enter together, and such a step counts once however many right clips it holds, as in the original.
    0 where no clip is right, 1 where all are.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if values.shape != truth.shape or values.ndim != 1 or np.isnan(values).any():
        raise ValueError(f"scores and labels (C,) without NaN expected, not {values.shape} and {truth.shape}")
    if truth.all() or not truth.any():
        return float(truth.all())
    _, group, sizes = np.unique(-values, return_inverse=True, return_counts=True)
    hits = np.bincount(group, weights=truth, minlength=len(sizes))
    precision = np.cumsum(hits) / np.cumsum(sizes)
    return float(np.maximum.accumulate(precision[::-1])[::-1][hits > 0].mean())


def evaluate_highlights(
    predictions: Sequence[MomentPrediction], truths: Sequence[MomentTruth]
) -> dict[str, dict[str, float]]:
    """Highlight detection: grade -> {"mAP", "Hit1"} in percent.

    HIT@1 asks whether one annotator gives the grade to the clip of highest saliency, the first of equal ones. Saliency
    beyond the last clip is left out for mAP, and missing saliency is 0, as in the original.

    Raises:
        ValueError: lists of different length, or a query without saliency (named by its place).
    """
    if len(predictions) != len(truths) or not truths:
        raise ValueError(f"{len(predictions)} predictions for {len(truths)} queries")
    report = {}
    for name, least in SALIENCY.items():
        precisions, hits = [], []
        for place, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
            if prediction.saliency is None or truth.saliency is None or not len(prediction.saliency):
                raise ValueError(f"query {place} has no saliency scores")
            right = truth.saliency >= least
            scores = np.zeros(len(right))
            shown = min(len(right), len(prediction.saliency))
            scores[:shown] = prediction.saliency[:shown]
            precisions.append([highlight_average_precision(scores, column) for column in right.T])
            top = int(np.argmax(prediction.saliency))
            hits.append(bool(right[top].any()) if top < len(right) else False)
        report[name] = {"mAP": 100.0 * float(np.mean(precisions)), "Hit1": 100.0 * float(np.mean(hits))}
    return report


def tied_queries(predictions: Sequence[MomentPrediction]) -> int:
    """Queries in which the order of equal scores could matter: two equal windows, or two clips of highest saliency."""
    count = 0
    for prediction in predictions:
        windows = prediction.windows
        tied = windows is not None and len(np.unique(windows[:, 2])) < len(windows)
        salient = prediction.saliency
        tied |= salient is not None and len(salient) > 0 and int((salient == salient.max()).sum()) > 1
        count += tied
    return count


def _given(windows: Array | None) -> Array:
    assert windows is not None
    return windows


def _one_threshold(overlap: Array, threshold: float) -> float:
    """Average precision of windows in order of score: (P, G) IoU -> number."""
    free = np.ones(overlap.shape[1], dtype=bool)
    right = np.zeros(len(overlap), dtype=bool)
    for window, row in enumerate(overlap):
        reach = np.where(free, row, -1.0)
        nearest = int(reach.argmax())
        if reach[nearest] >= threshold:
            free[nearest], right[window] = False, True
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[right].sum() / overlap.shape[1])


def _windows(windows: npt.ArrayLike) -> Array:
    found = np.asarray(windows, dtype=np.float64)
    found = found.reshape(0, 2) if found.size == 0 else found
    if found.ndim != 2 or found.shape[1] != 2 or not (found[:, 1] >= found[:, 0]).all():
        raise ValueError("windows (P, 2) with start <= end expected, in seconds, without NaN")
    return found
