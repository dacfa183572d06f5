"""Evaluate moment retrieval: from a sentence's relevance to every frame to time spans.

Queries are sentences with annotated windows. Windows come from `meta["windows"]` (QVHighlights: all of them, for the
row's only caption), from `meta["spans"]` by caption and sentence (Worlds), or from a sentence's start and end. The
predictions are the peaks of the model's relevance curve (`mova.scoring.spans.peaks`), best first, at most ten, without
a threshold; with bounds from a deconvolution if windows of several frames overlap. The saliency of a clip of two
seconds is the mean relevance of its frames.

Shape legend: S sentences, T frames, C clips of two seconds, A annotators.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mova.data.exchange.predictions import Prediction, write_predictions
from mova.data.manifest import Row
from mova.errors import DataError, UsageError
from mova.eval.metrics.spans import CLIP_SECONDS, MOST_WINDOWS, MomentPrediction, MomentTruth
from mova.eval.moment_files import MomentScores, moment_truth
from mova.eval.protocols import Protocol
from mova.eval.report import Report
from mova.eval.score_reports import report_moments
from mova.eval.tasks.split import EvalSplit
from mova.models.encoder import TEXT_CHUNK, DualEncoder, VideoEmbedding
from mova.models.entailment import EntailmentModel
from mova.scoring.windows.deconvolution import window_peaks


@dataclass(frozen=True, eq=False)
class Query:
    """A sentence with its annotated windows; the id is the row's, with indices of caption and sentence if needed."""

    id: str
    text: str
    truth: MomentTruth


def evaluate_moment_retrieval(split: EvalSplit, protocol: Protocol, predictions_file: Path | None = None) -> Report:
    """Evaluate R1@IoU, mean IoU and moment mAP, and highlights if all queries have saliency.

    Args:
        split: rows with windows.
        protocol: of the task "moments".
        predictions_file: also write the predictions (`mova.data.exchange.predictions`).

    Returns:
        As `score_reports.report_moments`, with the model and excluded rows.

    Raises:
        UsageError: a model without frame vectors, or the number of queries does not fit the protocol.
        DataError: nothing can be measured, or windows and saliency are malformed.
    """
    if isinstance(split.model, EntailmentModel):
        raise UsageError(f"{split.model.name} is a video LLM; moments need frame vectors, so use a two-tower model")
    queries = {row.id: list(queries_of(row)) for row in split.rows}
    rows = split.keep(lambda row: bool(queries[row.id]), "it has no sentence with known times")
    protocol.check_size(sum(len(queries[row.id]) for row in rows), 0)
    predictions_of = _predict_rows(split, queries)
    kept = [row for row in rows if row.id in predictions_of]
    measured = [query for row in kept for query in queries[row.id]]
    predictions = [prediction for row in kept for prediction in predictions_of[row.id]]
    scores = MomentScores(predictions, [query.truth for query in measured], [query.id for query in measured], "")
    report = report_moments(scores, split.followed(protocol))
    head = split.head(
        protocol,
        report.head.order,
        len(measured),
        len({row.parts or row.video for row in kept}),
        [json.dumps([query.id, query.truth.windows.tolist()]) for query in measured],
        spans=f"peaks of relevance, widened to half prominence, {MOST_WINDOWS} at most",
        sentences_without_times=sum(count_sentences(row) for row in kept) - len(measured),
    )
    if predictions_file is not None:
        texts = {query.id: (query.text, row) for row in kept for query in queries[row.id]}
        write_measured(predictions_file, zip(scores.ids, predictions, strict=True), texts)
    return replace(report, head=head)


def write_measured(
    path: Path, measured: Iterable[tuple[str, MomentPrediction]], texts: Mapping[str, tuple[str, Row]]
) -> None:
    """Write the predictions that were measured.

    Args:
        path: the file.
        measured: id of a query, and its prediction.
        texts: id -> text and row.
    """
    found = []
    for id, prediction in measured:
        text, row = texts[id]
        windows = () if prediction.windows is None else tuple(tuple(w) for w in prediction.windows.tolist())
        saliency = None if prediction.saliency is None else tuple(prediction.saliency.tolist())
        found.append(Prediction(id, text, row.video or row.id, windows, saliency))
    write_predictions(found, path)


def _predict_rows(split: EvalSplit, queries: Mapping[str, Sequence[Query]]) -> dict[str, list[MomentPrediction]]:
    """Return row id -> one prediction per query; rows whose clip cannot be read are absent."""
    predictions: dict[str, list[MomentPrediction]] = {}
    for group in split.groups():
        vectors = encode_sentences(
            split.model, [query.text for _, rows in group for row in rows for query in queries[row.id]]
        )
        start = 0
        for embedding, rows in group:
            for row in rows:
                row_queries = queries[row.id]
                row_vectors = vectors[start : start + len(row_queries)]
                curves = split.model.relevance(row_vectors, embedding).double().cpu().numpy()
                predictions[row.id] = [
                    predict(curve, embedding, query) for curve, query in zip(curves, row_queries, strict=True)
                ]
                start += len(row_queries)
    return predictions


def count_sentences(row: Row) -> int:
    """Count the sentences of a row; a caption that lists none is one."""
    return sum(len(caption.sentences) or 1 for caption in row.captions)


def queries_of(row: Row) -> Iterator[Query]:
    """Yield the sentences of a row that have annotated windows; see the module.

    Raises:
        DataError: `meta` contains malformed windows, spans or saliency.
    """
    try:
        if "windows" in row.meta:
            if len(row.captions) != 1:
                raise ValueError(f"meta.windows belongs to one caption, and it has {len(row.captions)}")
            if row.meta["windows"]:
                yield Query(row.id, row.captions[0].text, _truth(row))
            return
        spans = row.meta.get("spans")
        for c, caption in enumerate(row.captions):
            for s, sentence in enumerate(caption.sentences):
                known = [] if sentence.start is None else [[sentence.start, sentence.end]]
                windows = np.asarray(known if spans is None else spans[c][s], dtype=np.float64).reshape(-1, 2)
                if len(windows):
                    yield Query(f"{row.id}/{c}/{s}", sentence.text, MomentTruth(windows))
    except (KeyError, ValueError, IndexError, TypeError, OverflowError) as error:
        raise DataError(f"row {row.id!r}: times cannot be read: {type(error).__name__}: {error}") from error


def predict(curve: npt.NDArray[np.float64], video: VideoEmbedding, query: Query) -> MomentPrediction:
    """Return windows from a relevance curve (T,), and the saliency of every clip if the query has it."""
    moments = window_peaks(curve, video.times, video.duration, MOST_WINDOWS, windows=video.windows)
    windows = np.array([[moment.span.start, moment.span.end, moment.score] for moment in moments])
    if query.truth.saliency is None:
        return MomentPrediction(windows)
    return MomentPrediction(windows, _saliency(curve, video.times, len(query.truth.saliency)))


def _saliency(curve: npt.NDArray[np.float64], times: npt.NDArray[np.float64], clips: int) -> npt.NDArray[np.float64]:
    """Return the mean relevance of each clip's frames, or that of the frame on display if it has none: (C,)."""
    starts = np.arange(clips) * CLIP_SECONDS
    first = np.searchsorted(times, starts)
    last = np.searchsorted(times, starts + CLIP_SECONDS)
    displayed = np.clip(np.searchsorted(times, starts, side="right") - 1, 0, None)
    total = np.concatenate([[0.0], np.cumsum(curve)])
    return np.where(last > first, (total[last] - total[first]) / np.maximum(last - first, 1), curve[displayed])


def _truth(row: Row) -> MomentTruth:
    annotation: dict[str, Any] = {"relevant_windows": row.meta["windows"], "duration": row.duration}
    annotation |= {name: row.meta[name] for name in ("saliency_scores", "relevant_clip_ids") if name in row.meta}
    return moment_truth(annotation)


@torch.no_grad()
def encode_sentences(model: DualEncoder, texts: Sequence[str]) -> torch.Tensor:
    """Encode sentences in batches: (S, d)."""
    parts = [model.encode_text(list(texts[i : i + TEXT_CHUNK])).pooled for i in range(0, len(texts), TEXT_CHUNK)]
    return torch.cat(parts)
