"""The first moments of a search, scored again by more than single frames: the model's evidence rule, or its masks.

The nearest frames and relevance curves find moments (`search/query.py`); what a score over all frames of a moment says,
such as whether its sentences come in their order, only has to be computed for the few best of them.

Shape legend: K units of the text, T frames inside a moment, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast, get_args

import numpy as np
import torch

from mova.errors import UsageError
from mova.models.encoder import DualEncoder, VideoEmbedding
from mova.search.store import Store
from mova.text.units import sentences_or_windows
from mova.types import Moment

Rescoring = Literal["auto", "none", "rule", "masks"]
"""What scores a moment again; "auto": the rule where it has an order term and the text several units, else nothing."""
CANDIDATES = 50
"""Moments that are scored again, at least."""


def choose(model: DualEncoder, text: str, by: str) -> Rescoring:
    """What "auto" means for a model and a text; anything else is itself.

    Raises:
        UsageError: an unknown name, or masks of a model that has none.
    """
    if by not in get_args(Rescoring):
        raise UsageError(f"rescore {by!r} is not known; there are {', '.join(get_args(Rescoring))}")
    if by == "masks":
        _require_masks(model)
    if by == "auto":
        return "rule" if model.rule.beta > 0 and len(sentences_or_windows(text)) > 1 else "none"
    return cast(Rescoring, by)


def rescored(
    store: Store, model: DualEncoder, text: str, moments: Sequence[Moment], by: Literal["rule", "masks"]
) -> list[Moment]:
    """Moments in the order, and with the score, that all of their frames give them.

    Args:
        store: the index that the moments come from.
        model: the encoder that it was made with.
        text: what was searched.
        moments: as `query.search` gives them.
        by: "rule": `S = K^g (LI + beta * order - theta)` over the frames inside each moment
            (`scoring/caption_score.py`); "masks": `DualEncoder.modular_similarity` of them.

    Returns:
        Best first; equal scores keep their order. A moment whose frames another process removed meanwhile is left out.
    """
    contents = {path: record.content for path, record in store.records().items()}
    stored = store.fetch(sorted({contents[moment.video] for moment in moments if moment.video in contents}))
    kept, inside = [], []
    for moment in moments:
        frames = stored.get(contents.get(moment.video, ""))
        if frames is not None:
            chosen = (frames.times >= moment.start) & (frames.times < moment.end)
            inside.append(VideoEmbedding(torch.from_numpy(frames.vectors[chosen]), frames.times[chosen], moment.end))
            kept.append(moment)
    if not kept:
        return []
    if by == "masks":
        _require_masks(model)
    with torch.inference_mode():
        scores = (model.modular_similarity if by == "masks" else model.score)(inside, text)[:, 0]
    order = np.argsort(-scores.double().cpu().numpy(), kind="stable")
    return [replace(kept[i], score=float(scores[i])) for i in order]


def _require_masks(model: DualEncoder) -> None:
    if not model.scores_modular:
        raise UsageError(f"{model.name} has no masks of frames to score with; index with a MoVA, or rescore by rule")
