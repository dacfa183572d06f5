"""Find moments that look like an example, alone or together with words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from mova.errors import UsageError
from mova.models.embeddings import VideoEmbedding
from mova.search.like.by import search_by
from mova.search.like.example import Example, encode_example, require_within, stored_vector
from mova.search.query import Query, query_sentences, search
from mova.search.storage.records import VideoRecord
from mova.types import Moment
from mova.utils.files import resolved
from mova.utils.numbers import require_number, require_whole

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.search.narrow.selection import Reader

_F32 = npt.NDArray[np.float32]
SAMPLED_FRAMES = 20_000
"""Stored frames by which the spread of the cosines with an example and with words is measured, at most about."""


def search_like(
    store: Reader,
    load_model: Callable[[], DualEncoder],
    example: Example | _F32,
    stored: VideoEmbedding | None,
    text: str = "",
    k: int = 10,
    *,
    words: float = 0.5,
    by: str | Sequence[str] | None = None,
    own: VideoRecord | None = None,
    one_per_video: bool = False,
) -> list[Moment]:
    """Return the k best moments that look like an example, best first, without the example itself.

    The score is the cosine of a frame with the example. With words, it is the cosine with a sum of both vectors, each
    divided by the spread of its cosines over the index's frames: cosines of frames with frames and with texts have
    different scales.

    Args:
        store: the index, or some of its videos.
        load_model: called only if the example is not stored, or with words.
        example: a moment of a video, or a picture; or the unit vector (d,) of one.
        stored: the stored frames of the example's video, if the index has them.
        text: words that the moments should show too; one vector for all of it.
        k: return at most k moments.
        words: weight of the words, from 0 to 1; only used with a text.
        by: compare in this respect only, such as "the place" (`mova.search.like.by`); not together with a text.
        own: the record of the example's path, if the index has it.
        one_per_video: only the best moment of each video, and of the example's none beside it.

    Raises:
        UsageError: the index or the file does not exist, a time after the end, k below 1, `words` out of its range, an
            unknown concept, or a concept together with a text.
        VideoError: the file cannot be read.
    """
    require_whole("k", k, 1)
    require_number("the weight of the words", words, 0, 1)
    if text and by is not None:
        raise UsageError("an example is compared in one respect (by), or together with words, not both at once")
    if text:
        query_sentences(text)  # a text that is too long is refused before anything is opened
    rate = store.meta.frame_rate
    if not store.records():
        return []
    vector = _vector(example, stored, own, load_model, rate)
    if text:
        vector = _with_words(store, load_model(), vector, text, words)
    name = text or (example.name if isinstance(example, Example) else "a picture")
    if by is not None:
        found = search_by(store, load_model(), vector, by, k + 1, one_per_video=one_per_video)
    else:
        query = Query(name, (name,), vector[None], "none")
        found = search(store, query, k + 1, one_per_video=one_per_video)
    return (_without_itself(store, found, example, own) if isinstance(example, Example) else found)[:k]


def _vector(
    example: Example | _F32,
    stored: VideoEmbedding | None,
    own: VideoRecord | None,
    load_model: Callable[[], DualEncoder],
    rate: float,
) -> _F32:
    """Return the unit vector (d,) of an example, the stored one if there is one."""
    if not isinstance(example, Example):
        return example
    vector = stored_vector(example, stored)
    if vector is None:
        require_within(example, own)
        vector = encode_example(load_model(), example, rate)
    return vector


def _with_words(store: Reader, model: DualEncoder, vector: _F32, text: str, words: float) -> _F32:
    """Return a unit vector whose cosine orders frames by the example and the words together."""
    with torch.inference_mode():
        pooled = model.encode_sentences([text]).pooled.float()
        spoken = torch.nn.functional.normalize(pooled, dim=-1)[0].cpu().numpy()
    frames = _sample(store)
    spreads = [max(float((frames @ side).std()), 1e-6) for side in (vector, spoken)]
    joint = (1 - words) * vector / spreads[0] + words * spoken / spreads[1]
    return (joint / max(float(np.linalg.norm(joint)), 1e-12)).astype(np.float32)


def _sample(store: Reader) -> _F32:
    """Return stored frames (N, d) of videos spread evenly over the index."""
    records = {record.content: record for record in store.records().values()}
    contents, total = list(records), sum(map(store.meta.frames_of, records.values()))
    step = max(1, round(total / SAMPLED_FRAMES))
    parts = store.fetch(contents[::step])
    return np.concatenate([part.vectors for part in parts.values()])


def _without_itself(
    store: Reader, moments: list[Moment], example: Example, own: VideoRecord | None = None
) -> list[Moment]:
    """Leave out the moment of the example, under any path of its content.

    A moment ends where the next begins, which has the frame at that time; the end of a video is in its last moment.
    """
    records = store.records()
    own = own or records.get(resolved(example.place))

    def contains(moment: Moment, content: str, duration: float) -> bool:
        """Return whether a moment holds the time of the example."""
        record = records.get(moment.video)
        last = moment.end >= duration and example.time >= duration
        inside = moment.start <= example.time < moment.end or last
        return record is not None and record.content == content and inside

    return [moment for moment in moments if own is None or not contains(moment, own.content, own.duration)]
