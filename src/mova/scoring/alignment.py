"""Align the sentences of a caption with the frames of a video, from their vectors alone.

Every aligner has the signature of `align_curves`: it sees all sentences and all frames at once and decides which spans
each sentence gets. The encoder contract (`mova.models.encoder`) calls it; nothing else depends on how it decides.

Shape legend: S sentences, T frames, d width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mova.scoring.similarity import relevance as frame_relevance
from mova.scoring.spans import locate, unseen
from mova.types import ScoredSpan, Span, complement


@dataclass(frozen=True, eq=False)
class Alignment:
    """The sentences of a caption on the time axis of a video.

    Attributes:
        relevance: float32, (S, T), how well each frame shows each sentence.
        spans: for each sentence, the spans that it describes, in order of time; possibly none.
        irrelevant: the spans that no sentence describes, in order of time, without those that have no frames.
    """

    relevance: npt.NDArray[np.float32]
    spans: tuple[tuple[ScoredSpan, ...], ...]
    irrelevant: tuple[Span, ...]


def align_curves(
    sentence_vectors: Tensor,
    frame_vectors: Tensor,
    times: npt.NDArray[np.float64],
    duration: float,
    threshold: float,
    step: float | None = None,
) -> Alignment:
    """Give each sentence, on its own, the spans where its relevance reaches a threshold.

    Args:
        sentence_vectors: (S, d), in the order of the caption; moved to the frames' device.
        frame_vectors: (T, d), in order of time.
        times: float64, (T,), seconds of the sampled frames, non-decreasing.
        duration: seconds of the video.
        threshold: cosine from which a frame shows a sentence.
        step: seconds between sampled frames, where it is known: stretches without frames (`mova.scoring.spans.unseen`)
            belong to no span, and are not irrelevant either.

    Raises:
        ValueError: the shapes do not agree, or there are no frames.

    Example:
        >>> import numpy as np, torch
        >>> tea, door = torch.eye(2)
        >>> film = torch.stack([door, door, tea, tea])
        >>> result = align_curves(torch.stack([tea, door]), film, np.arange(4.0), 5.0, threshold=0.5)
        >>> [[(scored.span.start, scored.span.end) for scored in spans] for spans in result.spans]
        [[(2.0, 5.0)], [(0.0, 2.0)]]
    """
    curves = frame_relevance(sentence_vectors.to(frame_vectors.device), frame_vectors).cpu().numpy()
    spans = tuple(locate(curve, times, duration, threshold, step=step) for curve in curves)
    covered = [scored.span for sentence_spans in spans for scored in sentence_spans]
    covered += unseen(times, duration, step)
    return Alignment(curves, spans, tuple(complement(covered, duration)))
