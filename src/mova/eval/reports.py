"""From scores to a report: one document with protocol, fingerprint, figures, what ties could change, and intervals.

The headline figures are of raw scores. Post-processing and old arithmetic stand in entries of their own, named for what
they are. `places` holds the rank of every query as three counts, or its other values, so that two reports can be
compared query by query (`eval/comparison.py`).

Shape legend: Q texts, N videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import DataError, UsageError
from mova.eval.metrics.bootstrap import bootstrap, mean, median
from mova.eval.metrics.classification import average_precision, mean_average_precision
from mova.eval.metrics.hubness import DUAL_SOFTMAX_SCALE, QB_SCALE, dual_softmax, qb_norm
from mova.eval.metrics.legacy import argsort_precision, clip4clip
from mova.eval.metrics.ranking import KS, Ranks, find_ranks, stream_ranks, summarize, tie_bounds
from mova.eval.metrics.spans import (
    MomentPrediction,
    MomentTruth,
    evaluate_highlights,
    evaluate_moments,
    moment_values,
    tied_queries,
)
from mova.eval.protocols import Protocol
from mova.eval.report_figures import Report, add_figures
from mova.eval.score_files import Entailment, Ids, ScoreMatrix
from mova.utils.hashing import digest

DIGITS = 2
"""Decimals of a printed figure: where best and worst case agree to so many, they are not shown."""
WAYS = ("t2v", "v2t")


def report_matrix(
    matrix: ScoreMatrix, protocol: Protocol, ids: Ids | None = None, compat: bool = False, transductive: bool = False
) -> Report:
    """Retrieval both ways from a matrix of texts by videos.

    Args:
        matrix: scores, and names where the file has them.
        protocol: task "retrieval".
        ids: which video each text belongs to, in the order of the rows; where the file names its texts as these name
            their videos, the names count. Without them text i belongs to video i, or, where the file names both texts
            and videos alike, to the video of its name.
        compat: add what CLIP4Clip's arithmetic gives.
        transductive: add dual softmax.

    Raises:
        UsageError: sizes or ids do not fit, or the protocol needs ids.
        ValueError: NaN and all else that cannot be ranked.
    """
    scores = matrix.scores
    protocol.check_size(*scores.shape)
    targets = _targets(matrix, protocol, ids)
    report = _head(protocol, _fingerprint(matrix, ids), _order(matrix, ids), scores.shape)
    names = matrix.texts or (ids.owners if ids is not None else None)
    diagonal = scores.shape[0] == scores.shape[1] and bool((targets == np.arange(len(targets))).all())
    if diagonal:
        t2v, v2t = stream_ranks(lambda rows, columns: scores[rows, columns], len(scores), ids=names)
        assert v2t is not None
    else:
        t2v, v2t = find_ranks(scores, targets, names), _any_caption(scores, targets)
    others = {"any-caption": v2t}
    if protocol.video_to_text != "one":
        others["max-over-captions"] = _max_over_captions(scores, targets)
        v2t = others[protocol.video_to_text]
        report["conventions"] = {name: summarize(ranks) for name, ranks in others.items()}
    _fill(report, {"t2v": t2v, "v2t": v2t})
    if compat:
        report["compat"] = _old(scores, diagonal)
    if transductive:
        back = _max_over_captions if protocol.video_to_text == "max-over-captions" else _any_caption
        report["transductive"] = {
            f"dual softmax (scale {DUAL_SOFTMAX_SCALE:g})": {
                "t2v": summarize(find_ranks(dual_softmax(scores), targets)),
                "v2t": summarize(back(dual_softmax(scores.T).T, targets)),
            }
        }
    return report


def add_qb_norm(
    report: Report, matrix: ScoreMatrix, bank: ScoreMatrix, protocol: Protocol, ids: Ids | None = None
) -> None:
    """Add text-to-video under QB-Norm to the report of a matrix: the bank holds training texts against its videos.

    Raises:
        DataError: a text of the bank is one of the test, or the videos differ.
        ValueError: another number of videos, or scores that are not finite.
    """
    shared = set(bank.texts or ()) & set(matrix.texts or ())
    if shared:
        raise DataError(f"the bank holds test texts ({len(shared)}, such as {min(shared)!r}): it must be of training")
    if matrix.videos and bank.videos and matrix.videos != bank.videos:
        raise DataError("the bank's columns are other videos, or the same in another order")
    ranks = find_ranks(qb_norm(matrix.scores, bank.scores), _targets(matrix, protocol, ids))
    row = {"t2v": summarize(ranks), "bank": {"texts": len(bank.scores), "fingerprint": _fingerprint(bank, None)}}
    report.setdefault("transductive", {})[f"QB-Norm (scale {QB_SCALE:g})"] = row


def max_over_captions(scores: npt.NDArray[np.floating], owners: npt.NDArray[np.integer]) -> npt.NDArray[np.floating]:
    """(N, N): the highest score of a video's captions (rows) with every video (columns).

    Raises:
        UsageError: a video has no caption.
    """
    counts = np.bincount(owners, minlength=scores.shape[1])
    if not counts.all():
        raise UsageError(f"video {int(counts.argmin())} has no caption ({int((counts == 0).sum())} such videos)")
    order = np.argsort(owners, kind="stable")
    return np.maximum.reduceat(np.asarray(scores)[order], np.cumsum(counts) - counts, axis=0)


def report_entailment(found: Entailment, protocol: Protocol, compat: bool = False) -> Report:
    """Texts against videos of which several are right: mAP, and ranks of the first right one.

    Raises:
        UsageError: the sizes are not those of the protocol.
        ValueError: a text without a right video.
    """
    protocol.check_size(*found.scores.shape)
    report = _head(protocol, found.fingerprint, digest([*found.texts, "", *found.videos]), found.scores.shape)
    ways = {"t2v": (found.scores, found.right), "v2t": (found.scores.T, found.right.T)}
    _fill(report, {way: find_ranks(scores, right) for way, (scores, right) in ways.items()})
    for way, (scores, right) in ways.items():
        precision = mean_average_precision(scores, right)
        report[way]["mAP"] = 100.0 * precision.expected
        report["bounds"].setdefault(way, {})["mAP"] = [100.0 * precision.best, 100.0 * precision.worst]
        values = np.array([100.0 * average_precision(*row).expected for row in zip(scores, right, strict=True)])
        report["intervals"][way]["mAP"] = bootstrap(values).to_json()
        report["places"][way]["AP"] = values.tolist()
    grouped = 100.0 * mean_average_precision(*ways["t2v"]).grouped
    report["other arithmetic"] = {"t2v mAP, ties grouped (scikit-learn)": grouped}
    if compat:
        report["compat"] = {
            "argsort": {"t2v": argsort_precision(*ways["t2v"])},
            "differs": ["equal scores stand where numpy.argsort puts them, which depends on the machine"],
        }
    return report


def report_moments(
    predictions: Sequence[MomentPrediction],
    truths: Sequence[MomentTruth],
    fingerprint: str,
    protocol: Protocol,
    ids: Sequence[str] = (),
) -> Report:
    """Moments and highlights as QVHighlights measures them; "moments" and "highlights" as far as predictions hold them.

    "figures" have R1 at IoU 0.3, 0.5 and 0.7, mean IoU of the first window, and mAP of every query ("moments"), and
    those of highlights, with intervals.

    Args:
        predictions, truths: a query each.
        fingerprint: of the queries and what is right.
        protocol: task "moments".
        ids: of the queries, in their order.

    Raises:
        UsageError: another number of queries, or neither windows nor saliency in all predictions.
    """
    protocol.check_size(len(predictions), 0)
    report: Report = {
        "protocol": protocol.name,
        "fingerprint": fingerprint,
        "order": digest(ids),
        "queries": len(predictions),
        "candidates": None,
        "ties": tied_queries(predictions),
        "settings": protocol.to_json(),
    }
    if all(p.windows is not None for p in predictions):
        found = evaluate_moments(predictions, truths)
        report["moments"] = {
            length: {name: {str(key): value for key, value in row.items()} for name, row in rows.items()}
            for length, rows in found.items()
        }
        add_figures(report, "moments", moment_values(predictions, truths))
    if all(p.saliency is not None for p in predictions) and all(t.saliency is not None for t in truths):
        report["highlights"] = evaluate_highlights(predictions, truths)
        single = [evaluate_highlights([p], [t]) for p, t in zip(predictions, truths, strict=True)]
        for grade, row in report["highlights"].items():
            values = {metric: [one[grade][metric] for one in single] for metric in row}
            add_figures(report, f"highlights, {grade}", values)
    if "moments" not in report and "highlights" not in report:
        raise UsageError("neither 'pred_relevant_windows' nor 'pred_saliency_scores' stand in all predictions")
    return report


def markdown_row(name: str, report: Mapping[str, Any]) -> str:
    """A row of a Markdown table: name, protocol, fingerprint, then the figures.

    Those of ranks are R@1, R@5, R@10, MdR, MnR of both ways; others are told with group and metric, as they differ
    from task to task.
    """
    cells = [name, report["protocol"], report["fingerprint"]]
    if report.get("task", "retrieval") == "retrieval" and "t2v" in report:
        cells += [f"{report[way][m]:.1f}" for way in WAYS for m in ("R@1", "R@5", "R@10", "MdR", "MnR")]
        return f"| {' | '.join(cells)} |"
    if "t2v" in report:
        cells.append(f"t2v mAP {report['t2v']['mAP']:.1f}")
    for group, figures in report.get("figures", {}).items():
        where = "" if group in ("all", "moments") else f"{group} "
        cells += [f"{where}{metric} {value:.1f}" for metric, value in figures.items()]
    return f"| {' | '.join(cells)} |"


def _head(protocol: Protocol, fingerprint: str, order: str, shape: tuple[int, ...]) -> Report:
    return {
        "protocol": protocol.name,
        "fingerprint": fingerprint,
        "order": order,
        "queries": shape[0],
        "candidates": shape[1],
        "ties": {},
        "settings": protocol.to_json(),
        "bounds": {},
        "intervals": {},
        "places": {},
    }


def _fill(report: Report, ways: Mapping[str, Ranks]) -> None:
    """Figures, bounds where they differ in a printed digit, intervals and places of every way."""
    for way, ranks in ways.items():
        figures = summarize(ranks)
        report["ties"][way] = figures.pop("ties")
        report[way] = figures
        report["bounds"][way] = {
            name: list(pair)
            for name, pair in tie_bounds(ranks).items()
            if f"{pair[0]:.{DIGITS}f}" != f"{pair[1]:.{DIGITS}f}"
        }
        report["intervals"][way] = {
            **{f"R@{k}": bootstrap(100 * ranks.within(k)).to_json() for k in KS},
            "MdR": bootstrap(ranks.expected, median).to_json(),
            "MnR": bootstrap(ranks.expected, mean).to_json(),
        }
        report["places"][way] = {key: value.tolist() for key, value in asdict(ranks).items()}


def _targets(matrix: ScoreMatrix, protocol: Protocol, ids: Ids | None) -> npt.NDArray[np.int64]:
    """(Q,): the column of the right video of every text."""
    texts, videos = matrix.scores.shape
    if ids is not None:
        names = matrix.videos or ids.videos
        if len(ids.owners) != texts or set(names) != set(ids.videos) or len(names) != videos:
            raise UsageError(
                f"ids of {len(ids.owners)} texts and {len(ids.videos)} videos do not fit a matrix of {texts} by "
                f"{videos}, or name other videos than its columns"
            )
        if protocol.captions != "each" and len(set(ids.owners)) < texts:
            raise UsageError(
                f"protocol {protocol.name} has one text a video, and ids name {texts} texts of "
                f"{len(set(ids.owners))} videos; where every caption is a query, take 'captions'"
            )
        column = {name: place for place, name in enumerate(names)}
        owners = ids.owners
        if matrix.texts and sorted(matrix.texts) == sorted(owners):
            owners = matrix.texts
        return np.array([column[owner] for owner in owners])
    if texts != videos or protocol.captions == "each":
        raise UsageError(
            f"{texts} texts and {videos} videos, protocol {protocol.name}: say with --ids which video each text "
            "belongs to"
        )
    if matrix.texts and matrix.videos and set(matrix.texts) == set(matrix.videos):
        column = {name: place for place, name in enumerate(matrix.videos)}
        return np.array([column[name] for name in matrix.texts])
    return np.arange(texts)


def _fingerprint(matrix: ScoreMatrix, ids: Ids | None) -> str:
    """Of ids where there are some; else it says that only positions are known."""
    if ids is not None:
        return ids.fingerprint
    if matrix.texts or matrix.videos:
        return digest([*sorted(matrix.texts or ()), "", *sorted(matrix.videos or ())])
    return f"positions-{matrix.scores.shape[0]}x{matrix.scores.shape[1]}"


def _order(matrix: ScoreMatrix, ids: Ids | None) -> str:
    """Of rows and columns as they stand: places of two reports are paired by it."""
    texts = matrix.texts or (ids.owners if ids else ())
    videos = matrix.videos or (ids.videos if ids else ())
    return digest([*texts, "", *videos])


def _any_caption(scores: npt.NDArray[np.floating], owners: npt.NDArray[np.integer]) -> Ranks:
    """Video to text: a video is answered by the best ranked of its captions."""
    own = owners[None, :] == np.arange(scores.shape[1])[:, None]
    return find_ranks(scores.T, own)


def _max_over_captions(scores: npt.NDArray[np.floating], owners: npt.NDArray[np.integer]) -> Ranks:
    """Video to text: a video is ranked among all by the best scores of their captions."""
    return find_ranks(max_over_captions(scores, owners).T)


def _old(scores: npt.NDArray[np.floating], diagonal: bool) -> Report:
    if not diagonal:
        raise UsageError("--compat clip4clip: the old arithmetic takes a square matrix with text i of video i")
    found = {way: clip4clip(values) for way, values in zip(WAYS, (scores, scores.T), strict=True)}
    return {
        "clip4clip": {way: {**old.metrics, "entries": old.entries} for way, old in found.items()},
        "differs": [f"{way}: {line}" for way, old in found.items() for line in old.differences],
    }
