"""Judge by a dual encoder: the joint alignment, counterfactuals on the frames of a sentence, and order.

Each sentence is held against its counterfactuals, sentences with one change, on the frames that show it. With the scale
that the model was trained with, the difference of two scaled cosines is the log-odds of two texts. A sentence holds if
it is shown and beats its best counterfactual. A counterfactual contradicts it if it is more probable and, put in its
place, holds itself: otherwise more than one thing differs.

Shape legend: S sentences, N counterfactuals, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mova.data.negatives.interchange import Counterfactual, Interchangeable
from mova.judge.counterfactuals import counterfactuals
from mova.judge.order import order_faults
from mova.judge.verdict import HOLDS, Contradiction, OrderFault, SentenceVerdict, Verdict
from mova.models.backbone import Backbone
from mova.models.embeddings import VideoEmbedding
from mova.models.encoder import DualEncoder
from mova.scoring.order import overlapping
from mova.text.units import windows_overlap
from mova.types import SentenceTimeline

PRIOR = 1.5
"""Log-odds, before the video is seen, of a sentence against its best counterfactual, in nats.

Chosen on 30 Worlds in the style `flat` (seed 881000), for the smallest calibration error.
"""
LEAST_MASS = 1e-3
"""Expected frames below which the posterior of a sentence says nothing about where it would be."""


def judge_embedding(
    model: DualEncoder,
    video: VideoEmbedding,
    prompt: str,
    *,
    name: str = "",
    words: Interchangeable | None = None,
) -> Verdict:
    """Return the verdict on a video that is already encoded.

    Args:
        model: a dual encoder. Contradictions need one that was trained contrastively (`Backbone.trained_scale`).
        video: its vectors.
        prompt: one or more sentences.
        name: name of the video in the verdict.
        words: phrases that exclude each other, in addition to everyday English or the model's own vocabulary.

    Raises:
        UsageError: the prompt has no words.

    >>> import mova
    >>> model = mova.load("mova-worlds-tiny")
    >>> verdict = judge_embedding(model, model.encode_video("film.mp4"), "Two white discs shrink.")
    >>> verdict.sentences[0].contradiction.change.instead
    'black'
    """
    timeline = model.align(video, prompt, name=name)
    sentences = [row.text for row in timeline.sentences]
    rows = []
    for index, row in enumerate(timeline.sentences):
        changes, odds = weigh(model, video, row, words)
        best = int(np.argmax(odds)) if changes else 0
        doubt = _doubt(odds)
        contradiction = None
        if doubt > HOLDS and _holds_instead(model, video, sentences, index, changes[best].text, words):
            contradiction = Contradiction(changes[best], doubt)
        shown = _shown(row)
        found = row.spans if row.likely is None else (row.likely,)
        spans = found if shown >= HOLDS or contradiction is not None else ()
        rows.append(SentenceVerdict(row.text, shown * (1 - doubt), spans, shown, None, contradiction))
    free = model.align(video, prompt, order="no").sentences
    posterior = np.stack([row.posterior for row in free if row.posterior is not None])
    faults: tuple[OrderFault, ...] = ()
    if len(posterior) == len(rows) > 1 and not windows_overlap(prompt, sentences):
        faults = order_faults(posterior, [_shown(row) for row in free], overlapping(sentences))
    return Verdict(name, prompt, video.duration, tuple(rows), faults, timeline.irrelevant, timeline)


def _shown(row: SentenceTimeline) -> float:
    return 1.0 if row.shown is None else row.shown


def weigh(
    model: DualEncoder, video: VideoEmbedding, row: SentenceTimeline, words: Interchangeable | None = None
) -> tuple[list[Counterfactual], npt.NDArray[np.float64]]:
    """Return the counterfactuals of a sentence, and the log-odds (N,) of each against the sentence, in nats.

    Without a trained scale (`Backbone.trained_scale`) there are none.

    >>> import mova
    >>> model = mova.load("mova-worlds-tiny")
    >>> row = model.align("film.mp4", "Two white discs shrink.").sentences[0]
    >>> changes, odds = weigh(model, model.encode_video("film.mp4"), row)
    >>> changes[odds.argmax()].text
    'Two black discs shrink.'
    """
    inner = getattr(model, "backbone", model)
    scale = inner.trained_scale() if isinstance(inner, Backbone) else None
    own = inner.interchangeable if isinstance(inner, Backbone) else None
    both = {
        kind: [*(own or {}).get(kind, ()), *(words or {}).get(kind, ())] for kind in {**(own or {}), **(words or {})}
    }
    renumber = inner.renumber if isinstance(inner, Backbone) else None
    changes = [] if scale is None else counterfactuals(row.text, both, english=own is None, renumber=renumber)
    if scale is None or not changes:
        return [], np.empty(0)
    texts = model.encode_sentences([row.text, *(change.text for change in changes)])
    cosines = model.relevance(texts, video).double().cpu().numpy() @ _where(row)
    return changes, scale * (cosines[1:] - cosines[0])


def _where(row: SentenceTimeline) -> npt.NDArray[np.float64]:
    """Return weights (T,) of the frames that show a sentence; of its best frame if hardly any does."""
    weights = np.zeros(len(row.relevance)) if row.posterior is None else np.asarray(row.posterior, dtype=np.float64)
    if weights.sum() < LEAST_MASS:
        weights = np.zeros(len(row.relevance))
        weights[int(np.argmax(row.relevance))] = 1.0
    return weights / weights.sum()


def _doubt(odds: npt.NDArray[np.float64]) -> float:
    """Return the probability of the best counterfactual against the sentence; 0 without any."""
    return float(1 / (1 + np.exp(PRIOR - odds.max()))) if len(odds) else 0.0


def _holds_instead(
    model: DualEncoder,
    video: VideoEmbedding,
    sentences: Sequence[str],
    index: int,
    text: str,
    words: Interchangeable | None,
) -> bool:
    """Return whether the video shows a text in the place of one sentence, and no counterfactual of it fits better."""
    changed = model.align(video, " ".join([*sentences[:index], text, *sentences[index + 1 :]])).sentences
    if len(changed) != len(sentences):
        changed, index = model.align(video, text).sentences, 0
    if _shown(changed[index]) < HOLDS:
        return False
    return _doubt(weigh(model, video, changed[index], words)[1]) <= HOLDS
