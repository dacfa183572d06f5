"""Evaluate scores of any system: retrieval, entailment, moments.

The headline figures are of raw scores. Post-processing and the arithmetic of older code have their own entries, named
for what they are.

Shape legend: Q texts, N videos.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import DataError, UsageError
from mova.eval.metrics.bootstrap import bootstrap
from mova.eval.metrics.classification import average_precision, mean_average_precision
from mova.eval.metrics.hubness import DUAL_SOFTMAX_SCALE, QB_SCALE, dual_softmax, qb_norm
from mova.eval.metrics.legacy import argsort_precision, clip4clip
from mova.eval.metrics.ranking import Ranks, find_ranks, stream_ranks, summarize
from mova.eval.metrics.spans import evaluate_highlights, evaluate_moments, moment_values, tied_queries
from mova.eval.moment_files import MomentScores, require_all
from mova.eval.protocols import Protocol
from mova.eval.report import DIRECTIONS, MetricGroup, Report, ReportHead
from mova.eval.score_files import Entailment, Ids, ScoreMatrix
from mova.utils.hashing import digest

logger = logging.getLogger(__name__)

_BLOCK = 1 << 22
"""Scores copied at once."""


@dataclass(frozen=True, eq=False)
class QueryBank:
    """Scores of training texts with the videos of a test, for QB-Norm.

    Attributes:
        matrix: (M, N) scores.
        source: what a report says about the texts, beside their number and fingerprint.
    """

    matrix: ScoreMatrix
    source: Mapping[str, Any] = field(default_factory=dict)


def report_matrix(
    matrix: ScoreMatrix,
    protocol: Protocol,
    ids: Ids | None = None,
    *,
    legacy: bool = False,
    dual_softmax: bool = False,
    bank: QueryBank | None = None,
) -> Report:
    """Evaluate retrieval in both directions on a matrix of texts by videos.

    Args:
        matrix: scores, with names if the file has them.
        protocol: task "retrieval".
        ids: the video of each text, in the order of the rows. If the file names its texts as `ids` names their videos,
            the names count. Default: text i belongs to video i, or, if the file gives texts and videos the same names,
            to the video of its name.
        legacy: add the figures of CLIP4Clip's arithmetic.
        dual_softmax: add metrics after dual softmax, which is transductive.
        bank: add text-to-video metrics after QB-Norm, which is transductive.

    Raises:
        UsageError: sizes or ids do not fit, or the protocol needs ids.
        DataError: the bank contains a text of the test, or scores other videos.
        ValueError: the scores contain NaN or cannot be ranked.

    >>> from mova.eval.protocols import find_protocol
    >>> report = report_matrix(ScoreMatrix(np.array([[0.9, 0.1], [0.2, 0.8]])), find_protocol("pairs"))
    >>> report.directions["t2v"].figures["R@1"], report.directions["t2v"].ties
    (100.0, 0)
    """
    scores = matrix.scores
    protocol.check_size(*scores.shape)
    targets = _targets(matrix, protocol, ids)
    names = matrix.texts or (ids.owners if ids is not None else None)
    diagonal = scores.shape[0] == scores.shape[1] and bool((targets == np.arange(len(targets))).all())
    queries, candidates = scores.shape
    t2v, back = stream_ranks(
        lambda rows, columns: scores[rows, columns], queries, candidates, None if diagonal else targets, ids=names
    )
    v2t = _any_caption(scores, targets) if back is None else back
    conventions = {}
    if protocol.video_to_text != "one":
        by_convention = {"any-caption": v2t, "max-over-captions": _max_over_captions(scores, targets)}
        v2t = by_convention[protocol.video_to_text]
        conventions = {name: summarize(ranks) for name, ranks in by_convention.items()}
    transductive = _dual_softmax(scores, targets, protocol) if dual_softmax else {}
    if bank is not None:
        transductive |= _qb_norm(matrix, bank, targets)
    return Report(
        head=ReportHead.of_scores(protocol, _fingerprint(matrix, ids), _order(matrix, ids), *scores.shape),
        directions={"t2v": MetricGroup.of_ranks(t2v), "v2t": MetricGroup.of_ranks(v2t)},
        conventions=conventions,
        legacy=_clip4clip(scores, diagonal) if legacy else {},
        transductive=transductive,
    )


def max_over_captions(
    scores: npt.NDArray[np.floating], owners: npt.NDArray[np.integer], videos: int | None = None
) -> npt.NDArray[np.floating]:
    """Return the highest score of a video's captions (rows) with each video (columns): (N, N).

    Args:
        scores: (Q, N), or some of its columns.
        owners: (Q,), the video of each caption.
        videos: N. Default: the number of columns.

    >>> max_over_captions(np.array([[0.9, 0.1], [0.2, 0.3], [0.4, 0.8]]), np.array([0, 0, 1]))
    array([[0.9, 0.3],
           [0.4, 0.8]])

    Raises:
        UsageError: a video has no caption.
    """
    counts = np.bincount(owners, minlength=scores.shape[1] if videos is None else videos)
    if not counts.all():
        raise UsageError(f"video {int(counts.argmin())} has no caption ({int((counts == 0).sum())} such videos)")
    order = np.argsort(owners, kind="stable")
    return np.maximum.reduceat(np.asarray(scores)[order], np.cumsum(counts) - counts, axis=0)


def report_entailment(entailment: Entailment, protocol: Protocol, legacy: bool = False) -> Report:
    """Evaluate texts against videos of which several are right: mAP, and ranks of the first right one.

    Args:
        entailment: scores and labels.
        protocol: task "entailment".
        legacy: add the figures of VideoCon's arithmetic.

    Raises:
        UsageError: the sizes are not those of the protocol.
        ValueError: a text has no right video.
    """
    protocol.check_size(*entailment.scores.shape)
    scores, right = entailment.scores, entailment.right
    order = digest([*entailment.texts, "", *entailment.videos])
    grouped = 100.0 * mean_average_precision(scores, right).grouped
    return Report(
        head=ReportHead.of_scores(protocol, entailment.fingerprint, order, *scores.shape),
        directions={"t2v": _right_ones(scores, right), "v2t": _right_ones(scores.T, right.T)},
        other_arithmetic={"t2v mAP, ties grouped (scikit-learn)": grouped},
        legacy={
            "argsort": {"t2v": argsort_precision(scores, right)},
            "differs": ["tied scores keep the order of numpy.argsort, which depends on the machine"],
        }
        if legacy
        else {},
    )


def _right_ones(scores: npt.NDArray[np.floating], right: npt.NDArray[np.bool_]) -> MetricGroup:
    """Compute the rank of the first correct candidate of every query, and mAP, which counts all of them."""
    precision = mean_average_precision(scores, right)
    values = np.array([100.0 * average_precision(*row).expected for row in zip(scores, right, strict=True)])
    return MetricGroup.of_ranks(find_ranks(scores, right)).with_metric(
        "mAP",
        100.0 * precision.expected,
        interval=bootstrap(values),
        bounds=(100.0 * precision.best, 100.0 * precision.worst),
        AP=values.tolist(),
    )


def report_moments(scores: MomentScores, protocol: Protocol) -> Report:
    """Evaluate moments and highlights as QVHighlights does; each only if all predictions have it.

    Group "moments" has R1 at IoU 0.3, 0.5 and 0.7, the mean IoU of the first window, and the mAP per query; a group
    per grade has the metrics of highlights.

    Args:
        scores: predictions and annotations.
        protocol: task "moments".

    Raises:
        UsageError: another number of queries, or predictions with neither windows nor saliency.
        DataError: only some predictions have windows or saliency.
    """
    predictions, truths = scores.predictions, scores.truths
    protocol.check_size(len(predictions), 0)
    moments: dict[str, Any] = {}
    highlights: dict[str, dict[str, float]] = {}
    groups: dict[str, MetricGroup] = {}
    require_all("no predicted windows", _by_query(scores, [p.windows is not None for p in predictions]))
    if all(p.windows is not None for p in predictions):
        moments = {
            length: {metric: {str(key): value for key, value in row.items()} for metric, row in rows.items()}
            for length, rows in evaluate_moments(predictions, truths).items()
        }
        groups["moments"] = MetricGroup.of_values(moment_values(predictions, truths))
    if _has_highlights(scores):
        highlights = evaluate_highlights(predictions, truths)
        single = [evaluate_highlights([p], [t]) for p, t in zip(predictions, truths, strict=True)]
        for grade, row in highlights.items():
            values = {metric: [one[grade][metric] for one in single] for metric in row}
            groups[f"highlights, {grade}"] = MetricGroup.of_values(values)
    if not groups:
        raise UsageError("neither 'pred_relevant_windows' nor 'pred_saliency_scores' is present in all predictions")
    return Report(
        head=ReportHead.of_scores(protocol, scores.fingerprint, digest(scores.ids), len(predictions), None),
        groups=groups,
        ties=tied_queries(predictions),
        moments=moments,
        highlights=highlights,
    )


def _has_highlights(scores: MomentScores) -> bool:
    """Return whether highlights can be evaluated; log if no query has an annotation for the predicted saliency.

    Raises:
        DataError: only some predictions have saliency, or only some queries are annotated with it.
    """
    annotated = [truth.saliency is not None for truth in scores.truths]
    predicted = [prediction.saliency is not None for prediction in scores.predictions]
    require_all("no saliency scores", _by_query(scores, predicted))
    if not any(predicted):
        return False
    require_all("no annotated saliency scores", _by_query(scores, annotated), "queries")
    if not any(annotated):
        logger.warning("highlights are not evaluated: none of the queries has annotated saliency")
    return all(annotated)


def _by_query(scores: MomentScores, values: Sequence[bool]) -> dict[str, bool]:
    return {f"query {id}": value for id, value in zip(scores.ids, values, strict=True)}


def _targets(matrix: ScoreMatrix, protocol: Protocol, ids: Ids | None) -> npt.NDArray[np.int64]:
    """Return the column of the right video of each text: (Q,)."""
    texts, videos = matrix.scores.shape
    if ids is not None:
        names = matrix.videos or ids.videos
        if len(ids.owners) != texts or set(names) != set(ids.videos) or len(names) != videos:
            raise UsageError(
                f"the ids of {len(ids.owners)} texts and {len(ids.videos)} videos do not fit a matrix of {texts} by "
                f"{videos}, or name other videos than its columns"
            )
        if protocol.captions != "each" and len(set(ids.owners)) < texts:
            raise UsageError(
                f"protocol {protocol.name} has one text per video, and the ids name {texts} texts of "
                f"{len(set(ids.owners))} videos; if every caption is a query, use 'captions'"
            )
        columns = {name: column for column, name in enumerate(names)}
        owners = ids.owners
        if matrix.texts and sorted(matrix.texts) == sorted(owners):
            owners = matrix.texts
        return np.array([columns[owner] for owner in owners])
    if texts != videos or protocol.captions == "each":
        raise UsageError(
            f"{texts} texts and {videos} videos, protocol {protocol.name}: use --ids to name the video of each text"
        )
    if matrix.texts and matrix.videos and set(matrix.texts) == set(matrix.videos):
        columns = {name: column for column, name in enumerate(matrix.videos)}
        return np.array([columns[name] for name in matrix.texts])
    return np.arange(texts)


def _fingerprint(matrix: ScoreMatrix, ids: Ids | None) -> str:
    """Return the fingerprint of the ids or names; without any it says that only positions are known."""
    if ids is not None:
        return ids.fingerprint
    if matrix.texts or matrix.videos:
        return digest([*sorted(matrix.texts or ()), "", *sorted(matrix.videos or ())])
    return f"positions-{matrix.scores.shape[0]}x{matrix.scores.shape[1]}"


def _order(matrix: ScoreMatrix, ids: Ids | None) -> str:
    """Hash rows and columns in their order: values of single queries are paired by it."""
    texts = matrix.texts or (ids.owners if ids else ())
    videos = matrix.videos or (ids.videos if ids else ())
    return digest([*texts, "", *videos])


def _any_caption(scores: npt.NDArray[np.floating], owners: npt.NDArray[np.integer]) -> Ranks:
    """Rank captions for each video; the best of the video's captions counts."""

    def ranks(videos: slice) -> Ranks:
        right = owners[None, :] == np.arange(scores.shape[1])[videos, None]
        return find_ranks(scores[:, videos].T, right)

    return _by_blocks(scores.shape, ranks)


def _max_over_captions(scores: npt.NDArray[np.floating], owners: npt.NDArray[np.integer]) -> Ranks:
    """Rank videos for each video, by the best score of their captions."""

    def ranks(videos: slice) -> Ranks:
        targets = np.arange(scores.shape[1])[videos]
        return find_ranks(max_over_captions(scores[:, videos], owners, scores.shape[1]).T, targets)

    return _by_blocks(scores.shape, ranks)


def _by_blocks(shape: tuple[int, ...], ranks: Callable[[slice], Ranks]) -> Ranks:
    """Rank blocks of videos, so that memory does not grow with the matrix (Q, N)."""
    size = max(1, _BLOCK // shape[0])
    parts = [ranks(slice(start, start + size)) for start in range(0, shape[1], size)]
    return Ranks(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("better", "tied", "right")))


def _dual_softmax(
    scores: npt.NDArray[np.floating], targets: npt.NDArray[np.int64], protocol: Protocol
) -> dict[str, dict[str, Any]]:
    back = _max_over_captions if protocol.video_to_text == "max-over-captions" else _any_caption
    return {
        f"dual softmax (scale {DUAL_SOFTMAX_SCALE:g})": {
            "t2v": summarize(find_ranks(dual_softmax(scores), targets)),
            "v2t": summarize(back(dual_softmax(scores.T).T, targets)),
        }
    }


def _qb_norm(matrix: ScoreMatrix, bank: QueryBank, targets: npt.NDArray[np.int64]) -> dict[str, dict[str, Any]]:
    training = bank.matrix
    shared = set(training.texts or ()) & set(matrix.texts or ())
    if shared:
        raise DataError(
            f"the bank contains {len(shared)} texts of the test, such as {min(shared)!r}: it must contain training "
            "texts only"
        )
    if matrix.videos and training.videos and matrix.videos != training.videos:
        raise DataError("the columns of the bank are other videos, or the same videos in another order")
    ranks = find_ranks(qb_norm(matrix.scores, training.scores), targets)
    about = {"texts": len(training.scores), "fingerprint": _fingerprint(training, None), **bank.source}
    return {f"QB-Norm (scale {QB_SCALE:g})": {"t2v": summarize(ranks), "bank": about}}


def _clip4clip(scores: npt.NDArray[np.floating], diagonal: bool) -> dict[str, Any]:
    if not diagonal:
        raise UsageError("--compat clip4clip: this arithmetic needs a square matrix in which text i belongs to video i")
    reports = {way: clip4clip(values) for way, values in zip(DIRECTIONS, (scores, scores.T), strict=True)}
    return {
        "clip4clip": {way: {**legacy.metrics, "entries": legacy.entries} for way, legacy in reports.items()},
        "differs": [f"{way}: {line}" for way, legacy in reports.items() for line in legacy.differences],
    }
