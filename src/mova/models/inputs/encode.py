"""Encode and score videos and texts of any kind, in lists or one by one.

Shape legend: V videos, N texts, d width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from mova.errors import UsageError
from mova.models.embeddings import TextEmbedding, VideoEmbedding
from mova.models.inputs.captions import Captioner, encode_captions, score_captions
from mova.models.inputs.pixels import is_array, is_picture, pixels_of
from mova.models.inputs.reading import VideoReading
from mova.models.inputs.sources import Clock, is_one_video, looks_like_a_file, opened
from mova.models.inputs.texts import as_texts
from mova.types import Frames

Item = TypeVar("Item")
Vectors = TextEmbedding | VideoEmbedding | Sequence[VideoEmbedding] | npt.NDArray[np.floating] | Tensor
"""What `similarity` compares: embeddings, or vectors (N, d) or (d,)."""


class Encoding(VideoReading, Captioner):
    """The part of `mova.models.encoder.DualEncoder` that this file needs."""

    @abstractmethod
    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode one or many texts: pooled vectors and token states."""


def encode(
    model: Encoding, inputs: Any, batch_size: int, fps: float | None, *, normalize: bool, show_progress: bool = False
) -> Tensor:
    """Return one vector per input, or the vector of a single one: float32, (N, d) or (d,).

    Args, Raises: see `DualEncoder.encode`.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UsageError(f"batch_size must be a whole number of at least 1, not {batch_size}")
    single = is_one_video(inputs)
    items = [inputs] if single else list(inputs)
    if not items:
        raise UsageError("nothing to encode: the list is empty")
    rows: list[Tensor | None] = [None] * len(items)
    advance = _progress(len(items)) if show_progress else lambda count: None
    texts = [i for i, item in enumerate(items) if isinstance(item, str)]
    for part in _parts(texts, batch_size):
        pooled = model.encode_text([_text(items[i]) for i in part]).pooled.float()
        for i, vector in zip(part, F.normalize(pooled, dim=-1) if normalize else pooled, strict=True):
            rows[i] = vector
        advance(len(part))
    videos = [i for i, item in enumerate(items) if not isinstance(item, str)]
    for i, vector in _encode_videos(model, items, videos, batch_size, fps):
        rows[i] = vector
        advance(1)
    vectors = torch.stack([row for row in rows if row is not None])
    return vectors[0] if single else vectors


def _progress(total: int) -> Callable[[int], object]:
    """Return a function that adds to a progress bar, which ends with its total."""
    from transformers.utils.logging import tqdm

    bar = tqdm(total=total, desc="encoding")

    def advance(count: int) -> None:
        """Add to the bar."""
        bar.update(count)
        if bar.n >= total:
            bar.close()

    return advance


def pooled_rows(pool: Callable[[Sequence[VideoEmbedding]], Tensor], *sides: Vectors) -> tuple[Tensor, ...]:
    """Return the vectors of each side as rows, float32, (N, d), on the device of the first.

    Args:
        pool: returns the vectors of videos.
        sides: texts, videos, or vectors.

    Raises:
        UsageError: something else, or different widths.
    """
    rows: list[Tensor] = []
    for side in sides:
        items = [side] if isinstance(side, VideoEmbedding) else side
        if isinstance(items, TextEmbedding):
            rows.append(items.pooled)
        elif is_array(items) or (isinstance(items, Sequence) and items and all(map(is_array, items))):
            stacked = items if is_array(items) else [torch.as_tensor(item) for item in items]
            vectors = torch.stack(stacked) if isinstance(stacked, list) else torch.as_tensor(stacked)
            rows.append(torch.atleast_2d(vectors.float()))
        elif isinstance(items, Sequence) and all(isinstance(item, VideoEmbedding) for item in items):
            rows.append(pool(items))
        else:
            raise UsageError(f"similarity compares embeddings, or vectors of `encode`, not {type(side).__name__}")
        if rows[-1].ndim != 2 or rows[-1].shape[-1] != rows[0].shape[-1]:
            raise UsageError(f"vectors {tuple(rows[-1].shape)} cannot be compared with {tuple(rows[0].shape)}")
    return tuple(row.to(rows[0].device) for row in rows)


def score(model: Encoding, videos: Any, texts: str | Sequence[str], fps: float | None, *, pairs: bool) -> Tensor:
    """Return scores of videos with whole texts.

    Args, Returns, Raises: see `DualEncoder.score`.
    """
    one_video, one_text = is_one_video(videos), isinstance(texts, str)
    items: list[Any] = [videos] if one_video else list(videos)
    batch = as_texts(texts) if one_text or not isinstance(texts, list | tuple) or texts else []
    if pairs and len(items) != len(batch) and 1 not in (len(items), len(batch)):
        raise UsageError(f"pairs need as many texts as videos (or one of either), not {len(batch)} and {len(items)}")
    captions = encode_captions(model, batch)  # first: texts without words are found before a video is decoded
    encoded = [embed(model, video, fps) for video in items]
    frames = [video.frames for video in encoded]
    if pairs:
        count = max(len(items), len(batch)) if items and batch else 0
        couples = [(frames[i % len(frames)], captions.only(i % len(batch))) for i in range(count)]
        rows = [score_captions(model, [video], caption)[0] for video, caption in couples]
        return torch.cat(rows) if rows else torch.empty(0)
    scores = score_captions(model, frames, captions)
    if one_video:
        return scores[0, 0] if one_text else scores[0]
    return scores


def embed(model: VideoReading, video: Any, fps: float | None = None) -> VideoEmbedding:
    """Return a video of any kind as an embedding; frames without times count as sampled at the model's own rate.

    Raises:
        UsageError, VideoError: see `encode_video`.
    """
    if isinstance(video, VideoEmbedding):
        return video
    if hasattr(video, "read") or isinstance(video, str | PathLike):
        return model.encode_video(video, fps)
    with opened(video, Clock(fps, otherwise=model.frame_rate)) as source:
        return model.encode_video(source, fps)


def _encode_videos(
    model: Encoding, items: Sequence[Any], chosen: Sequence[int], batch_size: int, fps: float | None
) -> Iterator[tuple[int, Tensor]]:
    """Yield index and vector of each video; consecutive pictures of one size are encoded together."""
    alone = model.context == 0 and model.window.is_picture
    plain = alone and type(model)._encode_source is VideoReading._encode_source

    def kind(i: int) -> Any:
        item = items[i]
        return (pixels_of(item).shape if is_picture(item) else i) if plain else i

    for _, group in groupby(chosen, kind):
        for part in _parts(list(group), batch_size):
            if len(part) == 1:
                yield part[0], embed(model, items[part[0]], fps).pooled
                continue
            pictures = np.concatenate([pixels_of(items[i]) for i in part])
            vectors = F.normalize(model.encode_frames(Frames(pictures, np.zeros(len(part)))), dim=-1)
            yield from zip(part, vectors, strict=True)


def _text(text: str) -> str:
    if not text.strip():
        raise UsageError("a text without words cannot be encoded")
    if looks_like_a_file(text):
        raise UsageError(
            f"{text}: is a file, and encode() takes a string as a text; for the video, pass pathlib.Path({text!r}), "
            "or use encode_video"
        )
    return text


def _parts(values: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
