"""Moment retrieval and highlight detection as evaluated by QVHighlights (Lei et al., NeurIPS 2021).

Moment retrieval: R1@IoU (the first predicted window against the annotated window it overlaps most) and moment mAP
(interpolated average precision of at most ten windows per query, each annotated window matched once, at IoU 0.5,
0.55, ..., 0.95), over all windows and by length: short (0, 10] s, middle (10, 30] s, long (30, 150] s.
Highlights: mAP and HIT@1 of a saliency score for every clip of two seconds against three annotators, where Fair (2),
Good (3) or Very Good (4) counts as right. Ties keep the order of the file, as in the original; the queries they affect
are counted. Everything is in percent and not rounded.

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
    """A model's answer to one query: windows, best first, (P, 3) as (start, end, score), and saliency (C,).

    >>> MomentPrediction(windows=np.array([[4.0, 9.0, 0.8], [0.0, 2.0, 0.3]])).windows[0]
    array([4. , 9. , 0.8])
    """

    windows: Array | None
    saliency: Array | None = None


@dataclass(frozen=True, eq=False)
class MomentTruth:
    """The annotation of one query: windows (G, 2) and, if annotated, saliency of every clip (C, A).

    >>> MomentTruth(windows=np.array([[4.0, 8.0]])).windows.shape
    (1, 2)
    """

    windows: Array
    saliency: npt.NDArray[np.int64] | None = None


def temporal_iou(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Return the intersection over union of every window of `a` (P, 2) with every one of `b` (G, 2): (P, G).

    Two windows of length 0 have IoU 0.

    >>> temporal_iou([[0.0, 4.0]], [[2.0, 6.0], [4.0, 8.0]]).round(3)
    array([[0.333, 0.   ]])

    Raises:
        ValueError: wrong shape, a NaN, or an end before its start.
    """
    first, second = (_windows(w) for w in (a, b))
    low = np.maximum(first[:, None, 0], second[None, :, 0])
    high = np.minimum(first[:, None, 1], second[None, :, 1])
    shared = np.clip(high - low, 0.0, None)
    union = (first[:, 1] - first[:, 0])[:, None] + (second[:, 1] - second[:, 0])[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def first_iou(predicted: npt.ArrayLike, annotated: npt.ArrayLike) -> float:
    """Return the IoU of the first window of (P, 2) with the annotated window of (G, 2) that it overlaps most.

    >>> first_iou([[0.0, 4.0], [5.0, 6.0]], [[2.0, 4.0], [5.0, 6.0]])
    0.5
    """
    return float(temporal_iou(np.asarray(predicted, dtype=np.float64)[:1, :2], annotated).max())


def moment_average_precision(
    predicted: npt.ArrayLike, annotated: npt.ArrayLike, thresholds: Sequence[float] = THRESHOLDS
) -> Array:
    """Return the interpolated average precision of one query's windows at each IoU threshold.

    Windows are matched by descending score; ties keep their order. Each window matches the unmatched annotated window
    that it overlaps most, if their IoU reaches the threshold; a second window on a matched one is wrong.

    >>> moment_average_precision([[0, 4, 0.9], [6, 8, 0.5]], [[6, 8]], thresholds=(0.5, 0.7))
    array([0.5, 0.5])

    Args:
        predicted: (P, 3), start, end, score; P may be 0.
        annotated: (G, 2), G > 0.

    Returns:
        (K,) in [0, 1].
    """
    windows = np.asarray(predicted, dtype=np.float64).reshape(-1, 3)
    if np.isnan(windows[:, 2]).any():
        raise ValueError("a predicted window has score NaN, so windows cannot be ordered")
    overlap = temporal_iou(windows[np.argsort(-windows[:, 2], kind="stable")][:, :2], annotated)
    if not overlap.shape[1]:
        raise ValueError("average precision needs an annotated window")
    return np.array([_one_threshold(overlap, threshold) for threshold in thresholds])


def evaluate_moments(
    predictions: Sequence[MomentPrediction],
    truths: Sequence[MomentTruth],
    thresholds: Sequence[float] = THRESHOLDS,
    most_windows: int = MOST_WINDOWS,
) -> dict[str, dict[str, dict[float | str, float]]]:
    """Evaluate moment retrieval by length of the annotated windows.

    For each length, annotated windows of other lengths are excluded, and so are queries left without any.

    Args:
        predictions, truths: (Q,), one per query.
        thresholds: of IoU.
        most_windows: windows per query that count for mAP, in the order of the prediction.

    Returns:
        length -> {"mAP": {threshold: percent, ..., "average"}, "R1": {threshold: percent}}; a length without annotated
        windows is absent.

    Raises:
        ValueError: lists of different lengths, empty lists, or a query without predicted windows (with its index).

    >>> prediction = MomentPrediction(np.array([[4.0, 9.0, 0.8], [0.0, 2.0, 0.3]]))
    >>> report = evaluate_moments([prediction], [MomentTruth(np.array([[4.0, 8.0]]))], thresholds=(0.5, 0.9))
    >>> report["full"]["R1"]
    {0.5: 100.0, 0.9: 0.0}
    """
    if len(predictions) != len(truths) or not truths:
        raise ValueError(f"{len(predictions)} predictions for {len(truths)} queries")
    for query, prediction in enumerate(predictions):
        if prediction.windows is None or len(prediction.windows) == 0:
            raise ValueError(f"query {query} has no predicted window")
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
    """Return the values of single queries, in percent; queries without an annotated window are excluded.

    Args:
        predictions, truths: (Q,), with at least one predicted window each.
        thresholds: of R1. Default: those of Charades-STA and TACoS; QVHighlights starts at 0.5.
        most_windows: windows per query that count for mAP.

    Returns:
        "R1@IoU" for each threshold, "mIoU" of the first window, and "mAP" over IoU 0.5 to 0.95.

    >>> prediction = MomentPrediction(np.array([[4.0, 9.0, 0.8], [0.0, 2.0, 0.3]]))
    >>> moment_values([prediction], [MomentTruth(np.array([[4.0, 8.0]]))], thresholds=(0.5,))
    {'R1@0.5': [100.0], 'mIoU': [80.0], 'mAP': [70.0]}
    """
    pairs = [(p.windows, t.windows) for p, t in zip(predictions, truths, strict=True) if len(t.windows)]
    first = np.array([first_iou(_require(windows), right) for windows, right in pairs])
    values = {f"R1@{t}": (100.0 * (first >= t)).tolist() for t in thresholds}
    values["mIoU"] = (100.0 * first).tolist()
    values["mAP"] = [
        100.0 * float(moment_average_precision(_require(windows)[:most_windows], right).mean())
        for windows, right in pairs
    ]
    return values


def highlight_average_precision(scores: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Return the interpolated average precision of clips, with ties grouped.

    It is the mean precision over the score thresholds that add a right clip. Tied scores enter together, and such a
    step counts once however many right clips it adds, as in the original. 0 if no clip is right, 1 if all are.

    >>> highlight_average_precision([0.9, 0.5, 0.5], [True, True, False])
    0.8333333333333333
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    if values.shape != truth.shape or values.ndim != 1 or np.isnan(values).any():
        raise ValueError(f"scores and labels must be (C,) without NaN, not {values.shape} and {truth.shape}")
    if truth.all() or not truth.any():
        return float(truth.all())
    _, group, sizes = np.unique(-values, return_inverse=True, return_counts=True)
    hits = np.bincount(group, weights=truth, minlength=len(sizes))
    precision = np.cumsum(hits) / np.cumsum(sizes)
    return float(np.maximum.accumulate(precision[::-1])[::-1][hits > 0].mean())


def evaluate_highlights(
    predictions: Sequence[MomentPrediction], truths: Sequence[MomentTruth]
) -> dict[str, dict[str, float]]:
    """Evaluate highlight detection: grade -> {"mAP", "Hit1"} in percent.

    HIT@1 is whether any annotator gave the grade to the clip of highest saliency, the first one of a tie. For mAP,
    saliency beyond the last clip is ignored and missing saliency is 0, as in the original.

    Raises:
        ValueError: lists of different lengths, or a query without saliency (with its index).

    >>> prediction = MomentPrediction(None, saliency=np.array([0.9, 0.2, 0.1]))
    >>> truth = MomentTruth(np.array([[0.0, 2.0]]), saliency=np.array([[4, 3, 4], [1, 1, 1], [0, 1, 0]]))
    >>> evaluate_highlights([prediction], [truth])["VeryGood"]
    {'mAP': 66.66666666666666, 'Hit1': 100.0}
    """
    if len(predictions) != len(truths) or not truths:
        raise ValueError(f"{len(predictions)} predictions for {len(truths)} queries")
    report = {}
    for name, least in SALIENCY.items():
        precisions, hits = [], []
        for query, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
            if prediction.saliency is None or truth.saliency is None or not len(prediction.saliency):
                raise ValueError(f"query {query} has no saliency scores")
            right = truth.saliency >= least
            scores = np.zeros(len(right))
            common = min(len(right), len(prediction.saliency))
            scores[:common] = prediction.saliency[:common]
            precisions.append([highlight_average_precision(scores, column) for column in right.T])
            top = int(np.argmax(prediction.saliency))
            hits.append(bool(right[top].any()) if top < len(right) else False)
        report[name] = {"mAP": 100.0 * float(np.mean(precisions)), "Hit1": 100.0 * float(np.mean(hits))}
    return report


def tied_queries(predictions: Sequence[MomentPrediction]) -> int:
    """Count the queries in which the order of ties may matter: windows with the same score, or two top clips.

    >>> tied_queries([MomentPrediction(np.array([[4.0, 9.0, 0.5], [0.0, 2.0, 0.5]]))])
    1
    """
    count = 0
    for prediction in predictions:
        windows = prediction.windows
        tied = windows is not None and len(np.unique(windows[:, 2])) < len(windows)
        salient = prediction.saliency
        tied |= salient is not None and len(salient) > 0 and int((salient == salient.max()).sum()) > 1
        count += tied
    return count


def _require(windows: Array | None) -> Array:
    assert windows is not None
    return windows


def _one_threshold(overlap: Array, threshold: float) -> float:
    """Return the average precision of windows in order of score, from their IoU (P, G)."""
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
    array = np.asarray(windows, dtype=np.float64)
    array = array.reshape(0, 2) if array.size == 0 else array
    if array.ndim != 2 or array.shape[1] != 2 or not (array[:, 1] >= array[:, 0]).all():
        raise ValueError("windows must be (P, 2) in seconds, with start <= end and without NaN")
    return array
