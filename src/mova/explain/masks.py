"""The weights of a model's masks over a video: figure 4 of the MoVA paper (arXiv 2607.00858), for MoVA models alone.

A frame selects part of each sentence by the temporal mask, and counts in part by the concept mask. Each sentence is a
text of its own here; if there are several, all of them together are one more text.

Shape legend: T sampled frames, F shown frames, S texts, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mova.errors import UsageError
from mova.explain.keyframes import PICTURE_PIXELS, choose_frames, read_pictures
from mova.explain.maps import with_whole_text
from mova.models.encoder import DualEncoder
from mova.models.mova.sentence_masks import MaskTarget, sentence_masks
from mova.types import Pixels

STRONGEST = 3
"""Number of sentences listed per frame, as in the paper's figure."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MaskWeights:
    """The masks of every sampled frame of a video for every text, and the frames to show.

    Attributes:
        video, model: names.
        sentences: S texts.
        target: what the temporal mask selects, "dimensions" or "units" (`SentenceMasks`).
        duration, times, step: seconds of the video, of the T frames, and between them, where that is known.
        selected, seen, scores: (S, T), see `SentenceMasks`.
        m_t, m_v: (S, T, d), the masks; None where the model has none over dimensions.
        frame_indices: F indices of the frames in the picture, in order.
        pictures: uint8, (F, H, W, 3).
    """

    video: str
    model: str
    sentences: tuple[str, ...]
    target: MaskTarget
    duration: float
    times: npt.NDArray[np.float64]
    step: float | None
    selected: Floats
    seen: Floats
    scores: Floats
    m_t: Floats | None
    m_v: Floats | None
    frame_indices: tuple[int, ...]
    pictures: Pixels

    def strongest(self, frame: int) -> list[int]:
        """Return the texts that frame `frame` of T matches best, at most `STRONGEST`; ties by index.

        For masks over dimensions by masked cosine, for units by weight.
        """
        values = self.scores if self.target == "dimensions" else self.selected
        return [int(text) for text in np.argsort(-values[:, frame], kind="stable")[:STRONGEST]]

    def to_json(self) -> dict[str, Any]:
        """Return the document that `mova explain --method masks --json` prints; the masks are those of shown frames."""
        frames = []
        for t in self.frame_indices:
            rows = []
            for s in self.strongest(t):
                row: dict[str, Any] = {"sentence": s, **self._weights(s, t)}
                for name, mask in (("m_t", self.m_t), ("m_v", self.m_v)):
                    if mask is not None:
                        row[name] = [round(float(value), 3) for value in mask[s, t]]
                rows.append(row)
            frames.append({"time": round(float(self.times[t]), 3), "strongest": rows})
        return {
            "video": self.video,
            "model": self.model,
            "method": "masks",
            "target": self.target,
            "score": "masked cosine",
            "sentences": list(self.sentences),
            "frames": frames,
            "times": [round(float(time), 3) for time in self.times],
            "weights": [[self._weights(s, t) for t in range(len(self.times))] for s in range(len(self.sentences))],
        }

    def _weights(self, sentence: int, frame: int) -> dict[str, float]:
        values = {"selected": self.selected, "seen": self.seen, "score": self.scores}
        return {name: round(float(value[sentence, frame]), 6) for name, value in values.items()}


def mask_weights(model: DualEncoder, video: str | Path, sentences: Sequence[str], count: int) -> MaskWeights:
    """Compute the masks of a MoVA for a video and the sentences of a caption.

    Args:
        model: a MoVA with masks over dimensions or units.
        video: a file.
        sentences: the caption's sentences; several are followed by all of them as one text, unless they are units.
        count: maximum number of frames to show.

    Raises:
        UsageError: a model without masks, no sentence, or `count` below 1.
        VideoError: the file cannot be read.

    Example:
        >>> import mova
        >>> mask_weights(mova.load("mova-worlds-tiny", device="cpu"), "film.mp4", ["a red star"], 4)
        Traceback (most recent call last):
        ...
        mova.errors.UsageError: mova-worlds-tiny: has no masks over a caption; use the method subsets (sentences by \
cosine), gradcam, or shared (what two moments have in common)
    """
    probe = sentence_masks(model, torch.zeros(1, model.embedding_dim), model.encode_sentences(list(sentences)))
    if probe is None:
        raise UsageError(
            f"{model.name}: has no masks over a caption; use the method subsets (sentences by cosine), gradcam, or "
            "shared (what two moments have in common)"
        )
    texts = with_whole_text(sentences) if probe.target == "dimensions" else list(sentences)
    encoded = model.encode_video(video)
    masks = sentence_masks(model, encoded.frames, model.encode_sentences(texts))
    assert masks is not None
    selected, seen, scores = (part.cpu().numpy() for part in (masks.selected, masks.seen, masks.scores))
    chosen = choose_frames(scores[: len(sentences)], encoded.times, count)
    return MaskWeights(
        video=str(video),
        model=model.name,
        sentences=tuple(texts),
        target=masks.target,
        duration=encoded.duration,
        times=encoded.times,
        step=encoded.step,
        selected=selected,
        seen=seen,
        scores=scores,
        m_t=None if masks.m_t is None else masks.m_t.cpu().numpy(),
        m_v=None if masks.m_v is None else masks.m_v.cpu().numpy(),
        frame_indices=tuple(chosen),
        pictures=read_pictures(video, encoded.times, chosen, PICTURE_PIXELS, model.decoder),
    )
