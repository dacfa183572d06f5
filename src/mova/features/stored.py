"""Stored frame vectors in place of a model's own: the key that must match, and embeddings for evaluation.

Shape legend: T frames, d width. Times are seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mova.data.columns.items import row_clip
from mova.data.feature_store import LAYOUT_VERSION, WINDOWS_LAYOUT, Clip, FeatureKey, FeatureStore
from mova.data.manifest import Row
from mova.errors import DataError, UsageError
from mova.models.encoder import DualEncoder, VideoEmbedding
from mova.scoring.windows.rule import cell_seconds
from mova.video.reader import FrameRule


def feature_key(model: DualEncoder, sampling: FrameRule, dtype: str = "float16") -> FeatureKey:
    """Return the key of a model's vectors for frames chosen by a rule.

    Raises:
        UsageError: a frame rate that the model does not support, an unknown type, or a rule without a rate for an
            encoder of windows.
    """
    window = model.window
    if not window.is_picture and sampling.fps is None:
        raise UsageError(
            f"{model.name} encodes windows of {window.frames} consecutive frames, which need a rate; "
            "sample with fps, not by a rule"
        )
    weights, preprocessing = model.video_fingerprint()
    chosen: dict[str, Any] = {"rule": sampling.rule, "frames": sampling.frames}
    if sampling.fps is not None:
        chosen = {"fps": float(model.sampling_rate(sampling.fps))}
    chosen |= {
        "layout": LAYOUT_VERSION if window.is_picture else WINDOWS_LAYOUT,
        "window": window.frames,
        "stride": window.stride,
    }
    return FeatureKey(model.name, weights, preprocessing, model.embedding_dim, dtype=dtype, **chosen)


class StoredEmbeddings:
    """Stored embeddings of a manifest's videos, as `encode_video` would return them: call it on a row.

    Times count from the start of the file, also for clips; `duration` is the end of the clip.

    Args:
        store: folder of a feature store, or an open store.
        model: the model whose texts are compared with the vectors; they are moved to its device.
        fps: required frames per second of the store; None accepts any sampling.

    Raises:
        DataError: the store does not exist.
        IndexMismatchError: the store was made with another video tower, preprocessing or rate.

    >>> import mova
    >>> from mova.data.manifest import read_manifest
    >>> from mova.features.extract import write_features
    >>> model = mova.load("mova-worlds-tiny")
    >>> _ = write_features("store", model, "films/manifest.jsonl", FrameRule(fps=model.frame_rate))
    >>> StoredEmbeddings("store", model)(read_manifest("films/manifest.jsonl")[0]).frames.shape
    torch.Size([20, 192])
    """

    def __init__(self, store: str | Path | FeatureStore, model: DualEncoder, fps: float | None = None) -> None:
        self.store = store if isinstance(store, FeatureStore) else FeatureStore(store)
        key = self.store.key
        sampling = FrameRule(rule=key.rule, frames=key.frames or 1, fps=key.fps if fps is None else fps)
        self.store.require(feature_key(model, sampling))
        self._device = getattr(model, "device", torch.device("cpu"))

    def __call__(self, row: Row) -> VideoEmbedding:
        """Return the embedding of a row's video, or of its clip.

        Raises:
            VideoError: the video could not be read when the store was written.
            DataError: the clip is not stored.
        """
        if row.parts:
            raise DataError(f"row {row.id!r} consists of several clips, which a feature store does not support")
        return self._embedding(row_clip(row))

    def span(self, row: Row, start: float, end: float) -> VideoEmbedding:
        """Return the embedding of the seconds `[start, end)` of a row's file; errors as for a row.

        If this clip itself is not stored, frames come from a longer one that contains it. With a model that reads
        neighboring frames, vectors at the edges then depend on frames beyond them.
        """
        return self._embedding(Clip(row.video, start, end))

    def _embedding(self, clip: Clip) -> VideoEmbedding:
        stored = self.store.read(clip)
        vectors = torch.from_numpy(stored.vectors).float().to(self._device)
        windows = self.store.windows(clip)
        step = None if self.store.key.fps is None else 1 / self.store.key.fps
        if windows is not None:
            step = cell_seconds(stored.pts, windows)
        return VideoEmbedding(vectors, stored.pts, stored.end, step=step, windows=windows)
