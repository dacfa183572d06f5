"""A two-tower model with known vectors: texts from a table (or drawn from their letters), clips by row id."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mova.data.manifest import Caption, Row, TimedSentence
from mova.errors import VideoError
from mova.eval.tasks.scoring_forms import ScoringForm
from mova.eval.tasks.split import EvalSplit
from mova.models.encoder import DualEncoder, TextEmbedding, VideoEmbedding
from mova.types import Frames

WIDTH = 16


def drawn(key: str, rows: int = 1) -> Tensor:
    """(rows, 16) vectors that depend on the key alone."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    return torch.from_numpy(rng.normal(size=(rows, WIDTH)).astype(np.float32))


class KnownEncoder(DualEncoder):
    """Encodes texts by a table and draws the vectors of others; records the texts it encodes."""

    name = "known"

    def __init__(self, texts: Mapping[str, Sequence[float]] | None = None) -> None:
        self.texts = dict(texts or {})
        self.encoded: list[str] = []

    @property
    def embedding_dim(self) -> int:
        return WIDTH

    def fingerprint(self) -> str:
        return "known"

    def encode_frames(self, frames: Frames) -> Tensor:
        raise AssertionError("clips are given")

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        texts_list = [texts] if isinstance(texts, str) else list(texts)
        self.encoded += texts_list
        rows = [torch.tensor(self.texts[t]).float() if t in self.texts else drawn(t)[0] for t in texts_list]
        pooled = torch.stack(rows)
        mask = torch.ones(len(texts_list), 1, dtype=torch.bool)
        return TextEmbedding(pooled, pooled[:, None], mask, np.zeros(len(texts_list), dtype=np.int64))


class Clips:
    """Encodes a row's clip: known frames, drawn ones otherwise, or an error if the row is broken; records its calls."""

    def __init__(self, frames: Mapping[str, Any] | None = None, broken: Sequence[str] = (), count: int = 5) -> None:
        self.frames = dict(frames or {})
        self.broken, self.count = set(broken), count
        self.asked: list[str] = []

    def __call__(self, row: Row) -> VideoEmbedding:
        self.asked.append(row.id)
        if row.video in self.broken:
            raise VideoError(row.video, "it is not there")
        known_frames = self.frames.get(row.video)
        vectors = drawn(row.video, self.count) if known_frames is None else torch.tensor(known_frames).float()
        return VideoEmbedding(vectors, np.arange(len(vectors), dtype=np.float64), float(len(vectors)))


def known_split(
    rows: Sequence[Row],
    *,
    clips: Clips | None = None,
    model: KnownEncoder | None = None,
    form: str = "global",
    split: str = "test",
) -> EvalSplit:
    """Return the rows of a split with a model of known vectors."""
    encoder = model or KnownEncoder()
    rows_of_split = [row for row in rows if row.split == split]
    others = [row for row in rows if row.split != split]
    return EvalSplit(encoder, rows_of_split, split, others, clips or Clips(), ScoringForm(encoder, form), 1.0)


def row(
    id: str, *captions: str | tuple[str, float, float], video: str | None = None, split: str = "test", **meta: Any
) -> Row:
    """A manifest's row; a caption with two numbers is one sentence with its seconds."""
    texts = [Caption(c) if isinstance(c, str) else Caption(c[0], (TimedSentence(c[0], c[1], c[2]),)) for c in captions]
    return Row(id, video or f"{id}.mp4", None, split, tuple(texts), meta=meta)


def cosines(texts: Tensor, pooled: Tensor) -> np.ndarray:
    """float64 cosines (N, V), written out."""
    a, b = texts.double().numpy(), pooled.double().numpy()
    return (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)[None]


def pooled(frames: Tensor) -> Tensor:
    """The mean of unit frame vectors."""
    return (frames / frames.norm(dim=-1, keepdim=True)).mean(dim=0)
