"""Saliency maps of a video and a caption: of single frames, or of the vector that a model makes of the whole video.

A dual encoder of frames is explained frame by frame. A GEXIA has one vector per video, so its maps show how much the
cosine of the whole video with a text drops when a window of one frame is covered (GEXIA, arXiv 2412.07704, appendix G).
The frames to show are then those without which the cosine drops most.

Shape legend: S sentences, T frames of a video or of its vector, F shown frames, H W source pixels, C h w model input
pixels, r c rows and columns of a map, P dense vectors per frame, D their width, K occluded copies, d width of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from mova.errors import UsageError
from mova.explain.keyframes import PICTURE_PIXELS, choose_frames, read_inputs, reduced
from mova.explain.saliency import Encode, grad_cam, occlusion
from mova.explain.stretches import ScoreCurves
from mova.models.embeddings import DenseVideo
from mova.models.encoder import DualEncoder
from mova.models.mova.sentence_masks import sentence_masks
from mova.models.tower_access import FrameFusion, TowerAccess, open_tower
from mova.scoring.similarity import cosine
from mova.types import Pixels

Method = Literal["gradcam", "occlusion"]

JSON_SIDE = 16
"""Maximum number of rows and columns of a map in the JSON document."""
MAX_CELLS = 2**25
"""Maximum size of the dense features of occluded copies of a video that pass the model at once."""


@dataclass(frozen=True, eq=False)
class SaliencyMaps:
    """Saliency of each sentence in chosen frames of a video.

    Attributes:
        video, model: names.
        method: "gradcam" or "occlusion".
        sentences: S texts.
        times: (F,) seconds.
        best: (S,), which of the F frames has the sentence's highest value in the whole video; -1 if that frame is
            not shown.
        pictures: uint8, (F, H, W, 3).
        visible: shares of height and width that the model sees, centered; maps cover this region.
        values: float32, (S, F), cosines of sentences and frames; for a whole video, how much its score drops without
            the frame (a video LLM: with all of it covered).
        maps: float32, (S, F, r, c).
        video_scores: float32, (S,), scores of the whole video if the maps explain those; None if they explain frames.
        score: the explained score; "masked cosine" for Grad-CAM of a MoVA with masks over dimensions.
        timeline: the score of every sampled frame; None if the maps explain a whole video.
    """

    video: str
    model: str
    method: Method
    sentences: tuple[str, ...]
    times: npt.NDArray[np.float64]
    best: npt.NDArray[np.int64]
    pictures: Pixels
    visible: tuple[float, float]
    values: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    video_scores: npt.NDArray[np.float32] | None = None
    score: Literal["cosine", "masked cosine", "log-odds"] = "cosine"
    timeline: ScoreCurves | None = None

    @property
    def measure(self) -> str:
        """Kind of `values`: "cosine", or "fall" of a whole video's score."""
        return "cosine" if self.video_scores is None else "fall"

    @property
    def removal(self) -> str:
        """How a frame is removed for `values` of a whole video: "left out" or "covered"."""
        return "covered" if self.score == "log-odds" else "left out"

    def to_json(self) -> dict[str, Any]:
        """Return the document that `mova explain --json` prints; maps are averaged to at most 16 x 16 values."""
        rows, columns = (min(JSON_SIDE, side) for side in self.maps.shape[2:])
        small = F.adaptive_avg_pool2d(torch.from_numpy(self.maps), (rows, columns)).numpy()
        tall, wide = self.visible
        area = [round(edge, 6) for edge in (0.5 - wide / 2, 0.5 - tall / 2, 0.5 + wide / 2, 0.5 + tall / 2)]
        cells = [
            {
                "time": round(float(time), 3),
                "sentences": [
                    {
                        "sentence": k,
                        self.measure: round(float(self.values[k, i]), 6),
                        "map": [[round(float(value), 6) for value in row] for row in small[k, i]],
                    }
                    for k in range(len(self.sentences))
                ],
            }
            for i, time in enumerate(self.times)
        ]
        document = {
            "video": self.video,
            "model": self.model,
            "method": self.method,
            "score": self.score,
            "sentences": list(self.sentences),
            "area": area,
            "frames": cells,
        }
        if self.video_scores is not None:
            document["log_odds" if self.score == "log-odds" else "cosines"] = [
                round(float(value), 6) for value in self.video_scores
            ]
        if self.timeline is not None:
            document |= self.timeline.to_json()
        return document


def saliency_maps(
    model: DualEncoder, video: str | Path, sentences: Sequence[str], count: int, method: Method
) -> SaliencyMaps:
    """Compute saliency of the most relevant frames of a video, one per sentence, and of frames between them.

    Grad-CAM explains the masked cosine of a MoVA with masks over dimensions, or with concept masks of units, and the
    plain cosine of any other model. Occlusion explains the plain cosine.

    For a model with one vector per video, several sentences are followed by all of them as one text.

    Args:
        model: a model whose family provides tower access (`models/tower_access.py`).
        video: a file.
        sentences: S texts.
        count: maximum number of frames to show.
        method: "gradcam" or "occlusion".

    Raises:
        UsageError: no sentence, `count` below 1, or a model that the method does not support.
        VideoError: the file cannot be read.
    """
    tower = open_tower(model)
    if tower.fusion is not None:
        if method == "gradcam":
            raise UsageError(f"{model.name}: has one vector for all frames together; use the method occlusion")
        return _of_whole(model, tower, tower.fusion, video, with_whole_text(sentences), count)
    if method == "gradcam" and tower.reader is None:
        raise UsageError(f"{model.name}: the patch grid of this architecture is unknown; use the method occlusion")
    embedded = model.encode_sentences(list(sentences))
    texts, encoded = embedded.pooled, model.encode_video(video)
    masks = sentence_masks(model, encoded.frames, embedded) if method == "gradcam" else None
    masked = masks is not None and masks.m_v is not None
    curves = masks.scores if masks is not None and masked else model.relevance(texts, encoded)
    relevance = curves.cpu().numpy()
    chosen = choose_frames(relevance, encoded.times, count)
    pictures, pixels = read_inputs(tower, video, encoded.times, chosen, model.decoder)
    if method == "gradcam" and tower.reader is not None:
        fixed = None if masks is None else masks.of_frames(chosen)
        maps = grad_cam(tower.encode, tower.reader, tower.cell, pixels, texts, fixed)
    else:
        maps = occlusion(tower.encode, pixels, texts)
    return SaliencyMaps(
        video=str(video),
        model=model.name,
        method=method,
        sentences=tuple(sentences),
        times=encoded.times[chosen],
        best=shown_best(relevance, chosen),
        pictures=reduced(pictures, PICTURE_PIXELS),
        visible=tower.visible(*pictures.shape[1:3]),
        values=relevance[:, chosen] if masked else cosine(texts, encoded.frames[chosen]).cpu().numpy(),
        maps=maps.transpose(0, 1).cpu().numpy(),
        score="masked cosine" if masked else "cosine",
        timeline=ScoreCurves(encoded.times, encoded.duration, encoded.step, relevance),
    )


def with_whole_text(sentences: Sequence[str]) -> list[str]:
    """Append all sentences as one text if there are several, for models that score whole videos.

    >>> with_whole_text(["A man opens a door.", "He pours tea."])
    ['A man opens a door.', 'He pours tea.', 'A man opens a door. He pours tea.']
    """
    return [*sentences, " ".join(sentences)] if len(sentences) > 1 else list(sentences)


def _of_whole(
    model: DualEncoder,
    tower: TowerAccess,
    fusion: FrameFusion,
    video: str | Path,
    sentences: Sequence[str],
    count: int,
) -> SaliencyMaps:
    """Compute occlusion maps of the vector of a whole video, for frames that it is made of."""
    texts = model.encode_sentences(list(sentences)).pooled
    encoded = fusion.read(video)
    video_scores, falls = without_each(fusion, encoded, texts)
    times = encoded.times[encoded.chosen]
    chosen = choose_frames(falls, times, count)
    frames = [encoded.chosen[i] for i in chosen]
    pictures, pixels = read_inputs(tower, video, encoded.times, frames, model.decoder)
    maps = [occlusion(within(fusion, encoded, i), frame[None], texts) for i, frame in zip(chosen, pixels, strict=True)]
    return SaliencyMaps(
        video=str(video),
        model=model.name,
        method="occlusion",
        sentences=tuple(sentences),
        times=times[chosen],
        best=shown_best(falls, chosen),
        pictures=reduced(pictures, PICTURE_PIXELS),
        visible=tower.visible(*pictures.shape[1:3]),
        values=falls[:, chosen],
        maps=torch.cat(maps).transpose(0, 1).cpu().numpy(),
        video_scores=video_scores,
    )


@torch.no_grad()
def without_each(
    fusion: FrameFusion, encoded: DenseVideo, texts: Tensor
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return cosines of a video with texts, float32 (S,), and how much each drops without one frame, (S, T).

    Without its only frame nothing would be left of a video: that frame counts as 0.
    """
    count = len(encoded.dense)
    full = cosine(texts, fusion.fuse(encoded.dense[None], encoded.rounds))
    if count == 1:
        return full[:, 0].cpu().numpy(), np.zeros((len(texts), 1), dtype=np.float32)
    rest = [torch.cat([encoded.dense[:i], encoded.dense[i + 1 :]]) for i in range(count)]
    vectors = torch.cat([fusion.fuse(frames[None], encoded.rounds) for frames in rest])
    return full[:, 0].cpu().numpy(), (full - cosine(texts, vectors)).cpu().numpy()


def within(fusion: FrameFusion, encoded: DenseVideo, frame_index: int) -> Encode:
    """Return a function from replacements (K, C, h, w) of one frame to vectors (K, d) of the whole video."""
    return partial(_replaced, fusion, encoded, frame_index)


def _replaced(fusion: FrameFusion, encoded: DenseVideo, frame_index: int, pixels: Tensor) -> Tensor:
    """Encode copies of the video with one frame replaced, as many at a time as `MAX_CELLS` allows."""
    parts = []
    for dense in fusion.features(pixels).split(max(1, MAX_CELLS // encoded.dense.numel())):
        copies = encoded.dense.expand(len(dense), *encoded.dense.shape).clone()
        copies[:, frame_index] = dense
        parts.append(fusion.fuse(copies, encoded.rounds))
    return torch.cat(parts)


def shown_best(values: npt.NDArray[np.float32], chosen: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return which of the chosen frames has the highest value of each row; -1 if that frame is not chosen.

    >>> shown_best(np.array([[0.1, 0.9, 0.2], [0.8, 0.3, 0.1]], np.float32), [1, 2])
    array([ 0, -1])
    """
    best = values.argmax(axis=1).tolist()
    return np.array([chosen.index(i) if i in chosen else -1 for i in best], dtype=np.int64)
