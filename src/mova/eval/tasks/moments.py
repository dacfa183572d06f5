"""Moment retrieval with a model: from a sentence's relevance to every frame to stretches of time.

Queries are sentences whose windows are known. Windows come from `meta["windows"]` (QVHighlights: all of them, for the
row's one caption), from `meta["spans"]` by caption and sentence (Worlds), or are a sentence's own start and end. What
a model predicts are the peaks of its relevance curve (`models.moments.peaks`), best first, ten at most, without any
threshold; clips of two seconds are as salient as the mean relevance of their frames.

Shape legend: S sentences, T frames, C clips of two seconds, A annotators.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mova.data.manifest import Row
from mova.errors import DataError, UsageError
from mova.eval.metrics.spans import CLIP_SECONDS, MOST_WINDOWS, MomentPrediction, MomentTruth
from mova.eval.protocols import Protocol
from mova.eval.report_figures import Report
from mova.eval.reports import report_moments
from mova.eval.score_files import moment_truth
from mova.eval.tasks.split import EvalSplit
from mova.models.encoder import TEXT_CHUNK, VideoEmbedding
from mova.models.entailment import EntailmentModel
from mova.scoring.spans import peaks


@dataclass(frozen=True, eq=False)
class Query:
    """A sentence, what is right for it, and an id: the row's, with caption and sentence where the row has several."""

    id: str
    text: str
    truth: MomentTruth


def evaluate_moment_retrieval(test: EvalSplit, protocol: Protocol) -> Report:
    """R1@IoU, mean IoU, moment mAP, and highlights where all queries have saliency.

    Returns:
        As `reports.report_moments`, with "task", "model", "excluded".

    Raises:
        UsageError: a model without vectors of frames, or the number of queries does not fit the protocol.
        DataError: nothing can be measured, or windows and saliency are not of the form.
    """
    if isinstance(test.model, EntailmentModel):
        raise UsageError(f"{test.model.name} is a video LLM; moments need vectors of frames, so take a two-tower model")
    queries = {row.id: list(queries_of(row)) for row in test.rows}
    rows = test.keep(lambda row: bool(queries[row.id]), "it has no sentence with known times")
    protocol.check_size(sum(len(queries[row.id]) for row in rows), 0)
    found: dict[str, list[MomentPrediction]] = {}
    for group in test.groups():
        asked = [query.text for _, shown in group for row in shown for query in queries[row.id]]
        vectors = _encode(test, asked)
        taken = 0
        for embedding, shown in group:
            for row in shown:
                mine = vectors[taken : taken + len(queries[row.id])]
                curves = test.model.relevance(mine, embedding).double().cpu().numpy()
                found[row.id] = [
                    predict(curve, embedding, query) for curve, query in zip(curves, queries[row.id], strict=True)
                ]
                taken += len(queries[row.id])
    kept = [row for row in rows if row.id in found]
    told = [query for row in kept for query in queries[row.id]]
    predictions = [prediction for row in kept for prediction in found[row.id]]
    report = report_moments(
        predictions, [query.truth for query in told], "", test.of(protocol), [query.id for query in told]
    )
    truth = [json.dumps([query.id, query.truth.windows.tolist()]) for query in told]
    said = {
        "spans": f"peaks of relevance, widened to half prominence, {MOST_WINDOWS} at most",
        "sentences_without_times": sum(sentences_of(row) for row in kept) - len(told),
    }
    return report | test.head(
        protocol, report["order"], len(told), len({row.parts or row.video for row in kept}), truth, **said
    )


def sentences_of(row: Row) -> int:
    """How many sentences a row has; a caption that lists none is one."""
    return sum(len(caption.sentences) or 1 for caption in row.captions)


def queries_of(row: Row) -> Iterator[Query]:
    """The sentences of a row whose windows are known; see the module.

    Raises:
        DataError: `meta` holds windows, spans or saliency that are not of the form.
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
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataError(f"row {row.id!r}: times cannot be read: {type(error).__name__}: {error}") from error


def predict(curve: npt.NDArray[np.float64], video: VideoEmbedding, query: Query) -> MomentPrediction:
    """Windows from a relevance curve (T,), and the saliency of every clip where the truth has it."""
    found = peaks(curve, video.times, video.duration, MOST_WINDOWS)
    windows = np.array([[scored.span.start, scored.span.end, scored.score] for scored in found])
    if query.truth.saliency is None:
        return MomentPrediction(windows)
    return MomentPrediction(windows, _saliency(curve, video.times, len(query.truth.saliency)))


def _saliency(curve: npt.NDArray[np.float64], times: npt.NDArray[np.float64], clips: int) -> npt.NDArray[np.float64]:
    """(C,): mean relevance of the frames in each clip; of the frame on display where none falls into it."""
    starts = np.arange(clips) * CLIP_SECONDS
    first = np.searchsorted(times, starts)
    last = np.searchsorted(times, starts + CLIP_SECONDS)
    shown = np.clip(np.searchsorted(times, starts, side="right") - 1, 0, None)
    total = np.concatenate([[0.0], np.cumsum(curve)])
    return np.where(last > first, (total[last] - total[first]) / np.maximum(last - first, 1), curve[shown])


def _truth(row: Row) -> MomentTruth:
    """Windows and saliency as QVHighlights writes them."""
    known: dict[str, Any] = {"relevant_windows": row.meta["windows"], "duration": row.duration}
    known |= {name: row.meta[name] for name in ("saliency_scores", "relevant_clip_ids") if name in row.meta}
    return moment_truth(known)


@torch.no_grad()
def _encode(test: EvalSplit, texts: Sequence[str]) -> torch.Tensor:
    """(S, d) vectors of sentences, in batches."""
    parts = [test.model.encode_text(list(texts[i : i + TEXT_CHUNK])).pooled for i in range(0, len(texts), TEXT_CHUNK)]
    return torch.cat(parts)
