"""A model and the rows of a manifest -> the report of a protocol. Each video is decoded and encoded once.

Shape legend: Q texts, N videos.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mova.data.dataset import FrameRule
from mova.data.manifest import Row, fingerprint
from mova.errors import DataError, VideoError
from mova.eval.protocols import Protocol, find_protocol
from mova.eval.reports import Report, report_matrix
from mova.eval.scorefiles import Ids, ScoreMatrix
from mova.models.dual import DualEncoder, VideoEmbedding

TEXTS_AT_ONCE = 256
"""Texts scored at a time: their units' vectors and the block of scores are held."""


def measure_retrieval(
    model: DualEncoder,
    rows: Sequence[Row],
    folder: str | Path,
    sampling: FrameRule,
    protocol: Protocol,
    done: Callable[[int], None] | None = None,
) -> Report:
    """Retrieval both ways among rows, by the model's own rule on whole texts (`DualEncoder.score`).

    Rows without a caption are no part of the test; `captionless` counts them. A video that cannot be read is left out
    together with its texts, counted and named under `broken`. A gallery of another size than the protocol's is measured
    as `pairs` or `captions`, and the report's `protocol` says so.

    Args:
        model: ready to encode.
        rows: a gallery; each needs a caption.
        folder: that their paths are relative to.
        sampling: which frames of a clip are seen, as in training.
        protocol: of task "retrieval"; "each" takes every caption as a query, else the first of a row is its text.
        done: called with the number of videos finished.

    Raises:
        DataError: no row has a caption, or no video can be read.
    """
    told = [row for row in rows if row.captions]
    if not told:
        raise DataError("none of the rows to measure on has a caption")
    seen: list[tuple[Row, VideoEmbedding]] = []
    broken: list[dict[str, str]] = []
    for count, row in enumerate(told, start=1):
        try:
            frames = sampling.read(Path(folder) / row.video, row.start or 0.0, row.end)
            with torch.inference_mode():
                seen.append((row, model.encode_video(frames, sampling.fps)))
        except VideoError as error:
            broken.append({"id": row.id, "video": error.path, "cause": error.cause})
        if done is not None:
            done(count)
    if not seen:
        raise DataError(f"none of the {len(broken)} videos can be read; the first: {broken[0]['cause']}")
    kept = [row for row, _ in seen]
    texts = [(row.id, caption.text) for row in kept for caption in _texts(row, protocol)]
    scores = _scores(model, [video for _, video in seen], [text for _, text in texts])
    videos, owners = tuple(row.id for row in kept), tuple(owner for owner, _ in texts)
    fitting = _fitting(protocol, len(texts), len(videos))
    report = report_matrix(ScoreMatrix(scores, None, videos), fitting, Ids(videos, owners, fingerprint(kept)))
    counts = {"rows": len(rows), "captionless": len(rows) - len(told), "broken": broken}
    return report | {"model": model.name, "scores": _rule(model), **counts}


def _texts(row: Row, protocol: Protocol) -> Sequence[Any]:
    return row.captions if protocol.captions == "each" else row.captions[:1]


def _scores(model: DualEncoder, videos: Sequence[VideoEmbedding], texts: Sequence[str]) -> np.ndarray[Any, Any]:
    """(Q, N) in float32."""
    blocks = []
    with torch.inference_mode():
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            blocks.append(model.score(videos, texts[start : start + TEXTS_AT_ONCE]).T.float().cpu().numpy())
    return np.concatenate(blocks)


def _fitting(protocol: Protocol, texts: int, videos: int) -> Protocol:
    """The protocol, or the open one of its caption mode where the gallery is not its own."""
    if protocol.texts in (None, texts) and protocol.videos in (None, videos):
        return protocol
    return find_protocol("captions" if protocol.captions == "each" else "pairs")


def _rule(model: DualEncoder) -> dict[str, Any]:
    """How scores were made, for the report."""
    return {"form": "evidence rule over units", **model.rule.to_dict()}
