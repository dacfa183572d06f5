"""Evaluate paragraph grounding: the spans of all sentences of a paragraph, which are given together.

A paragraph is a caption with several sentences, or, if a row has none, all its captions of one sentence in their order
(Charades-STA lists one query per caption). If a video has several descriptions of such captions (TACoS), their sizes
are in `meta["paragraphs"]`. Annotated windows are those of moment retrieval
(`eval/tasks/moments.py`). Sentences without annotated times are aligned too, but not counted. Each sentence gets the
spans of a decoder (`mova.scoring.decoders`), best first.

Beside R1@IoU and mean IoU, "points" has the recall of HTM-Align (Han et al. 2022): the share of sentences whose most
probable second is within the annotated window, rounded out to whole seconds. If `meta["alignable"]` says which
sentences the video shows at all, "alignable AUC" measures how well the two are separated.

Shape legend: K sentences, T frames.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mova.data.manifest import Caption, Row
from mova.errors import DataError, UsageError
from mova.eval.metrics.spans import MOST_WINDOWS, MomentPrediction, MomentTruth
from mova.eval.moment_files import MomentScores
from mova.eval.protocols import Protocol
from mova.eval.report import MetricGroup, Report
from mova.eval.score_reports import report_moments
from mova.eval.tasks.moments import count_sentences, encode_sentences, queries_of, write_measured
from mova.eval.tasks.split import EvalSplit
from mova.models.background_captions import encode_background, relevance_threshold
from mova.models.encoder import DualEncoder, VideoEmbedding
from mova.models.entailment import EntailmentModel
from mova.scoring.alignment import Alignment
from mova.scoring.decoders import Decoder, Film, Knowledge, ground_paragraph
from mova.scoring.timeline_decoder import Order
from mova.types import ScoredSpan


@dataclass(frozen=True, eq=False)
class Paragraph:
    """The sentences of a paragraph.

    Attributes:
        ids, texts: of the sentences.
        truths: annotated windows; None for a sentence without any.
        alignable: whether the video shows each sentence; empty if that is not annotated.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    truths: tuple[MomentTruth | None, ...]
    alignable: tuple[bool, ...] = ()


@dataclass(frozen=True, eq=False)
class Grounded:
    """The result for one sentence with annotated windows."""

    id: str
    prediction: MomentPrediction
    truth: MomentTruth
    hit: bool


def evaluate_paragraphs(
    split: EvalSplit,
    protocol: Protocol,
    decoder: Decoder = "joint",
    order: Order = "auto",
    predictions_file: Path | None = None,
) -> Report:
    """Evaluate R1@IoU, mean IoU and points, all sentences of a paragraph given.

    Args:
        split: rows with paragraphs.
        protocol: of the task "moments".
        decoder: how the sentences are aligned.
        order: of the joint decoder.
        predictions_file: also write the predictions (`mova.data.exchange.predictions`).

    Raises:
        UsageError: a model without frame vectors, or the number of sentences does not fit the protocol.
        DataError: nothing can be measured, or windows are malformed.
    """
    if isinstance(split.model, EntailmentModel):
        raise UsageError(f"{split.model.name} is a video LLM; paragraphs need frame vectors, so use a two-tower model")
    paragraphs = {row.id: list(paragraphs_of(row)) for row in split.rows}
    rows = split.keep(lambda row: bool(paragraphs[row.id]), "it has no sentence with known times")
    counted = sum(truth is not None for row in rows for item in paragraphs[row.id] for truth in item.truths)
    protocol.check_size(counted, len({row.parts or row.video for row in rows}) if protocol.videos else 0)
    results: dict[str, list[Grounded]] = {}
    shown: list[tuple[bool, float]] = []
    for group in split.groups():
        for video, group_rows in group:
            for row in group_rows:
                results[row.id] = []
                for item in paragraphs[row.id]:
                    aligned = align_paragraph(split.model, video, item, decoder, order)
                    results[row.id] += _grounded(item, aligned, video)
                    shown += zip(item.alignable, shown_scores(aligned).tolist(), strict=False)
    if predictions_file is not None:
        items = {
            id: (text, row) for row in rows for p in paragraphs[row.id] for id, text in zip(p.ids, p.texts, strict=True)
        }
        measured = [(item.id, item.prediction) for row in results.values() for item in row]
        write_measured(predictions_file, measured, items)
    return _report(split, protocol, [row for row in rows if row.id in results], results, shown, decoder, order)


def paragraphs_of(row: Row) -> Iterator[Paragraph]:
    """Yield the paragraphs of a row that have at least one sentence with annotated windows; see the module.

    Raises:
        DataError: `meta` contains malformed windows or spans.
    """
    if "windows" in row.meta:  # a single query with all its windows (QVHighlights)
        return
    annotated = {query.id: query.truth for query in queries_of(row)}
    several = [c for c, caption in enumerate(row.captions) if len(caption.sentences) > 1]
    groups = [[c] for c in several] or _descriptions(row)
    alignable = row.meta.get("alignable", ())
    for group in groups:
        places = [(c, s) for c in group for s in range(len(row.captions[c].sentences))]
        ids = tuple(f"{row.id}/{c}/{s}" for c, s in places)
        if not any(id in annotated for id in ids):
            continue
        if alignable and len(alignable) != len(ids):
            raise DataError(f"row {row.id!r}: meta.alignable has {len(alignable)} values for {len(ids)} sentences")
        texts = tuple(_text(row.captions, c, s) for c, s in places)
        yield Paragraph(ids, texts, tuple(annotated.get(id) for id in ids), tuple(map(bool, alignable)))


def _descriptions(row: Row) -> list[list[int]]:
    """Return the captions of each description of a row."""
    captions = [*range(len(row.captions))]
    sizes = row.meta.get("paragraphs", [len(captions)])
    counts = isinstance(sizes, list) and all(isinstance(size, int) and size > 0 for size in sizes)
    if not counts or sum(sizes) != len(captions):
        wrong = f"meta.paragraphs must divide its {len(captions)} captions, not be {sizes!r:.60}"
        raise DataError(f"row {row.id!r}: {wrong}")
    cuts = [0, *accumulate(sizes)]
    return [captions[first:end] for first, end in pairwise(cuts)]


def _text(captions: Sequence[Caption], caption: int, sentence: int) -> str:
    return captions[caption].sentences[sentence].text


@torch.no_grad()
def align_paragraph(
    model: DualEncoder, video: VideoEmbedding, item: Paragraph, decoder: Decoder, order: Order
) -> Alignment:
    """Align the sentences of a paragraph with an encoded video."""
    threshold = relevance_threshold(model, video)
    background = encode_background(model) if model.background else threshold
    return ground_paragraph(
        encode_sentences(model, item.texts),
        Film(video.frames, video.times, video.duration, video.step),
        Knowledge(background, threshold, model.alignment),
        decoder,
        sentences=item.texts,
        order=order,
    )


def shown_scores(aligned: Alignment) -> npt.NDArray[np.float64]:
    """Return how surely each sentence is shown: its probability, or its highest relevance: (K,)."""
    return aligned.relevance.max(axis=1).astype(np.float64) if aligned.shown is None else aligned.shown


def best_second(
    curve: npt.NDArray[np.float32], spans: Sequence[ScoredSpan], times: npt.NDArray[np.float64], posterior: bool
) -> float:
    """Return the time of a sentence in one number: of its most probable frame, or the middle of its best span."""
    if posterior:
        return float(times[int(curve.argmax())])
    return (spans[0].span.start + spans[0].span.end) / 2


def _grounded(item: Paragraph, aligned: Alignment, video: VideoEmbedding) -> Iterator[Grounded]:
    curves = aligned.relevance if aligned.posterior is None else aligned.posterior
    for id, truth, curve, spans in zip(item.ids, item.truths, curves, aligned.spans, strict=True):
        if truth is None:
            continue
        rows = [[s.span.start, s.span.end, -float(i)] for i, s in enumerate(spans[:MOST_WINDOWS])]
        second = best_second(curve, spans, video.times, aligned.posterior is not None)
        hit = any(math.floor(start) <= second <= math.ceil(end) for start, end in truth.windows.tolist())
        yield Grounded(id, MomentPrediction(np.array(rows)), truth, hit)


def _report(
    split: EvalSplit,
    protocol: Protocol,
    rows: Sequence[Row],
    results: dict[str, list[Grounded]],
    shown: Sequence[tuple[bool, float]],
    decoder: Decoder,
    order: Order,
) -> Report:
    measured = [result for row in rows for result in results[row.id]]
    scores = MomentScores(
        [item.prediction for item in measured], [item.truth for item in measured], [item.id for item in measured], ""
    )
    followed = replace(split.followed(protocol), texts=None, videos=None)
    report = report_moments(scores, followed)
    points = MetricGroup.of_values({"recall": [100.0 * item.hit for item in measured]})
    if len({label for label, _ in shown}) == 2:
        from sklearn.metrics import roc_auc_score

        labels, values = zip(*shown, strict=True)
        points = points.with_metric("alignable AUC", 100.0 * float(roc_auc_score(labels, values)))
    head = split.head(
        protocol,
        report.head.order,
        len(measured),
        len({row.parts or row.video for row in rows}),
        [json.dumps([item.id, item.truth.windows.tolist()]) for item in measured],
        spans="all sentences of a paragraph together",
        decoder=decoder,
        **({"temporal_order": order} if decoder == "joint" else {}),
        sentences_without_times=sum(count_sentences(row) for row in rows) - len(measured),
    )
    return replace(report, head=head, groups={**report.groups, "points": points})
