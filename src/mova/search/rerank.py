"""Score the best moments of a search again, over all of their frames: by the model's evidence rule or by its masks.

Nearest frames and relevance curves find moments (`search/query.py`). A score over all frames of a moment, which also
says whether its sentences occur in their order, has to be computed for the few best of them only.

Shape legend: T frames inside a moment, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mova.search.cold.text_tower import TextTower
from mova.search.query import Query
from mova.search.storage.records import StoredFrames
from mova.types import Moment

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.search.narrow.selection import Reader

CANDIDATES = 50
"""Moments that are scored again, at least."""


def candidates(query: Query, count: int) -> int:
    """Return how many moments are found for an answer with `count`: as many, or 50, 100, 200, ... if they may move.

    Moments of a paragraph become passages, and may be scored again. The steps are fixed, so that the pages of an answer
    within one step are parts of one list.
    """
    if query.rescoring == "none" and len(query.sentences) == 1:
        return count
    number = CANDIDATES
    while number < count:
        number *= 2
    return number


def rescore(store: Reader, model: DualEncoder | TextTower, query: Query, moments: Sequence[Moment]) -> list[Moment]:
    """Return moments with the scores that all of their frames give them, in that order.

    Args:
        store: the index that the moments come from.
        model: the encoder of the index, or its exported text tower.
        query: its `rescoring` decides. "rule": `S = K^g (LI + beta * order - theta)` over the frames inside each moment
            (`scoring/caption_score.py`). "masks": `DualEncoder.modular_similarity` of these frames; "mod", "tv", ...:
            with that score. "none": the moments stay as they are.
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
            chosen = _shown(frames, moment)
            inside.append((frames.vectors[chosen], frames.times[chosen], moment.end))
            kept.append(moment)
    if not kept:
        return []
    if isinstance(model, TextTower):
        scores = model.score([vectors for vectors, _, _ in inside], query.text)
    else:
        scores = _by_model(model, query, inside)
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    return [replace(kept[i], score=float(scores[i])) for i in order]


def _shown(frames: StoredFrames, moment: Moment) -> npt.NDArray[np.bool_]:
    """Return which frames (T,) are inside a moment; of windows, those that stand for a part of it.

    The bounds of a moment may be finer than windows, so that none begins inside.
    """
    if frames.windows is None:
        return (frames.times >= moment.start) & (frames.times < moment.end)
    until = np.minimum(np.append(frames.times[1:], np.inf), frames.windows[:, 1])
    return (frames.times < moment.end) & (until > moment.start)


def _by_model(model: DualEncoder, query: Query, inside: Sequence[tuple[Any, Any, float]]) -> npt.NDArray[np.float32]:
    """Return the score of each (vectors, times, end)."""
    import torch

    from mova.models.embeddings import VideoEmbedding

    score: Any = model.score
    if query.rescoring != "rule":
        score = partial(model.modular_similarity, score=None if query.rescoring == "masks" else query.rescoring)
    videos = [VideoEmbedding(torch.from_numpy(vectors), times, end) for vectors, times, end in inside]
    with torch.inference_mode():
        scores: npt.NDArray[np.float32] = score(videos, query.text)[:, 0].cpu().numpy()
    return scores
