"""Find moments that share one thing with an example: the same place, the same color.

Nearest frames by the full cosine need not be among them, so every stored frame is compared.

Shape legend: T frames, d width.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from mova.models.encoder import DualEncoder
from mova.scoring.respects import Respect
from mova.scoring.spans import peaks
from mova.search.narrow.selection import Reader, meta_of
from mova.search.query import existing_path
from mova.search.storage.records import BATCH_FRAMES, VideoRecord
from mova.types import Moment
from mova.utils.batching import batches

_F32 = npt.NDArray[np.float32]


def search_by(
    store: Reader,
    model: DualEncoder,
    vector: _F32,
    by: str | Sequence[str],
    k: int,
    *,
    one_per_video: bool = False,
) -> list[Moment]:
    """Return the k moments that are most similar to a frame in one respect, best first.

    Args:
        store: the index.
        model: the model of the index; it reads the words of the concept.
        vector: (d,), unit vector of the example.
        by: see `DualEncoder.respect`.
        k: return at most k moments. Their score is the cosine in this respect, from -1 to 1.
        one_per_video: only the best moment of each video.

    Raises:
        UsageError: an unknown concept, or fewer than two values.
        IndexDamagedError: frames of a video are missing.
    """
    same: dict[str, list[VideoRecord]] = {}
    for record in store.records().values():
        same.setdefault(record.content, []).append(record)
    videos = [records[0] for records in same.values()]
    if not videos:
        return []
    frames = np.array(list(map(store.meta.frames_of, videos)), dtype=np.float64)
    center = np.average([video.mean for video in videos], axis=0, weights=frames)
    respect = model.respect(by, torch.from_numpy(center.astype(np.float32)))
    moments: list[Moment] = []
    for batch in batches(videos, store.meta.frames_of, BATCH_FRAMES):
        stored = store.fetch([video.content for video in batch])
        for video in batch:
            part = stored.get(video.content)
            if part is None or part.stored_rows != video.frames:
                store.require_removed(video)
                continue
            curve = _curve(respect, vector, part.vectors)
            most = 1 if one_per_video else k
            spans = peaks(curve, part.times, video.duration, most, step=part.step(meta_of(store, video.content)))
            path = existing_path(same[video.content])
            moments += [Moment(path, peak.span.start, peak.span.end, peak.score) for peak in spans]
        moments = heapq.nsmallest(k, moments, key=lambda m: (-round(m.score, 6), m.video, m.start))
    return moments


def _curve(respect: Respect, vector: _F32, frames: npt.NDArray[np.floating]) -> _F32:
    """Return the cosines of an example (d,) with frames (T, d) in one respect, (T,)."""
    rows = torch.from_numpy(frames.astype(np.float32))
    curve: _F32 = respect.similarity(torch.from_numpy(vector)[None], rows)[0].numpy()
    return curve
