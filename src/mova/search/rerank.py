"""Score the best moments of a search again, over all of their frames: by the model's evidence rule or by its masks.

Nearest frames and relevance curves find moments (`search/query.py`). A score over all frames of a moment, which also
says whether its sentences occur in their order, has to be computed for the few best of them only.

Shape legend: T frames inside a moment, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from mova.models.encoder import DualEncoder, VideoEmbedding
from mova.search.query import Query
from mova.search.storage.store import Store
from mova.types import Moment

CANDIDATES = 50
"""Moments that are scored again, at least."""


def rescore(store: Store, model: DualEncoder, query: Query, moments: Sequence[Moment]) -> list[Moment]:
    """Return moments with the scores that all of their frames give them, in that order.

    Args:
        store: the index that the moments come from.
        model: the encoder of the index.
        query: its `rescoring` decides. "rule": `S = K^g (LI + beta * order - theta)` over the frames inside each moment
            (`scoring/caption_score.py`). "masks": `DualEncoder.modular_similarity` of these frames. "none": the moments
            stay as they are.
        moments: as returned by `query.search`.

    Returns:
        Best first; equal scores keep their order. Moments whose frames another process has just removed are left out.

    Raises:
        UsageError: the model has no masks and the query asks for them.
    """
    if query.rescoring == "none":
        return list(moments)
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
    score = model.modular_similarity if query.rescoring == "masks" else model.score
    with torch.inference_mode():
        scores = score(inside, query.text)[:, 0]
    order = np.argsort(-scores.double().cpu().numpy(), kind="stable")
    return [replace(kept[i], score=float(scores[i])) for i in order]
