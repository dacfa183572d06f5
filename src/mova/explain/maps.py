"""Saliency maps of a video and a caption: of single frames, or of the vector that a model makes of the whole video.

A dual encoder of frames is asked of each frame on its own. A GEXIA has one vector for all of a video, so its maps tell
how far the cosine of the whole video with a text falls where a window of one frame is covered (GEXIA, arXiv 2412.07704,
appendix G), and which frames to show is decided by how far it falls where a frame is left out.

Shape legend: S sentences, T frames of a video or of its vector, F shown frames, H W source pixels, C h w model input
pixels, r c rows and columns of a map, P dense vectors a frame, D their width, K occluded copies, d width of vectors.
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
from mova.models.embeddings import DenseVideo
from mova.models.encoder import DualEncoder
from mova.models.tower_access import FrameFusion, TowerAccess, open_tower
from mova.scoring.similarity import cosine
from mova.types import Pixels

Method = Literal["gradcam", "occlusion"]

FINEST = 16
"""Rows and columns of a map in the JSON document, at most."""
LARGEST = 2**25
"""Numbers in the dense features of occluded copies of a video that are approximated at once."""


@dataclass(frozen=True, eq=False)
class SaliencyMaps:
    """Where the shown frames of a video show each sentence.

    Attributes:
        video, model: names.
        method: "gradcam" or "occlusion".
        sentences: S texts.
        times: (F,) seconds.
        best: (S,) which of the F frames has the sentence's highest value of the whole video; -1 where that one is
            not shown.
        pictures: uint8, (F, H, W, 3).
        seen: shares of height and width that the model sees, around the middle; maps lie there.
        values: float32, (S, F), cosines of sentences and frames; of a whole video, how far its score falls where the
            frame is left out (a video LLM: where all of it is covered).
        maps: float32, (S, F, r, c).
        wholes: float32, (S,), scores of the whole video where the maps tell of it; None where they tell of frames.
        score: what falls, "cosine" or "log-odds".
    """

    video: str
    model: str
    method: Method
    sentences: tuple[str, ...]
    times: npt.NDArray[np.float64]
    best: npt.NDArray[np.int64]
    pictures: Pixels
    seen: tuple[float, float]
    values: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    wholes: npt.NDArray[np.float32] | None = None
    score: Literal["cosine", "log-odds"] = "cosine"

    @property
    def measure(self) -> str:
        """What `values` are: "cosine", or "fall" of a whole video's score."""
        return "cosine" if self.wholes is None else "fall"

    @property
    def lacking(self) -> str:
        """What becomes of a frame for `values` of a whole video, "left out" or "covered"."""
        return "left out" if self.score == "cosine" else "covered"

    def to_json(self) -> dict[str, Any]:
        """The document that `mova explain --json` prints; maps are averaged to at most 16 x 16 values."""
        rows, columns = (min(FINEST, side) for side in self.maps.shape[2:])
        small = F.adaptive_avg_pool2d(torch.from_numpy(self.maps), (rows, columns)).numpy()
        tall, wide = self.seen
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
            "sentences": list(self.sentences),
            "area": area,
            "frames": cells,
        }
        if self.wholes is not None:
            document[{"cosine": "cosines", "log-odds": "log_odds"}[self.score]] = [
                round(float(value), 6) for value in self.wholes
            ]
        return document


def saliency_maps(
    model: DualEncoder, video: str | Path, sentences: Sequence[str], count: int, method: Method
) -> SaliencyMaps:
    """Saliency of the most relevant frames of a video, one for each sentence, and of frames between them.

    Of a GEXIA, several sentences are followed by all of them as one text.

    Args:
        model: a `TwoTower`, a `WorldsTiny`, or a `Mova` or `Gexia` around one.
        video: a file.
        sentences: S texts.
        count: most frames to show.
        method: "gradcam" or "occlusion".

    Raises:
        UsageError: no sentence, `count` below 1, or a model that the method does not know.
        VideoError: the file cannot be read.
    """
    tower = open_tower(model)
    if tower.fusion is not None:
        if method == "gradcam":
            raise UsageError(f"{model.name}: its vector is of all frames together; use the method occlusion")
        return _of_whole(model, tower, tower.fusion, video, with_whole_text(sentences), count)
    if method == "gradcam" and tower.reader is None:
        raise UsageError(f"{model.name}: no grid of patches is known of this kind of model; use the method occlusion")
    texts = model.encode_text(list(sentences)).pooled
    seen = model.encode_video(video)
    relevance = model.relevance(texts, seen).cpu().numpy()
    chosen = choose_frames(relevance, seen.times, count)
    pictures, pixels = read_inputs(tower, video, seen.times, chosen)
    if method == "gradcam" and tower.reader is not None:
        maps = grad_cam(tower.encode, tower.reader, tower.cell, pixels, texts)
    else:
        maps = occlusion(tower.encode, pixels, texts)
    return SaliencyMaps(
        video=str(video),
        model=model.name,
        method=method,
        sentences=tuple(sentences),
        times=seen.times[chosen],
        best=shown_best(relevance, chosen),
        pictures=reduced(pictures, PICTURE_PIXELS),
        seen=tower.visible(*pictures.shape[1:3]),
        values=cosine(texts, seen.frames[chosen]).cpu().numpy(),
        maps=maps.transpose(0, 1).cpu().numpy(),
    )


def with_whole_text(sentences: Sequence[str]) -> list[str]:
    """Sentences and, after several, all of them as one text: what is asked of a model that sees a video as a whole."""
    return [*sentences, " ".join(sentences)] if len(sentences) > 1 else list(sentences)


def _of_whole(
    model: DualEncoder,
    tower: TowerAccess,
    fusion: FrameFusion,
    video: str | Path,
    sentences: Sequence[str],
    count: int,
) -> SaliencyMaps:
    """Occlusion of the vector of a whole video; shown are frames that it is made of."""
    texts = model.encode_text(list(sentences)).pooled
    seen = fusion.read(video)
    wholes, falls = without_each(fusion, seen, texts)
    times = seen.times[seen.chosen]
    chosen = choose_frames(falls, times, count)
    pictures, pixels = read_inputs(tower, video, seen.times, [seen.chosen[place] for place in chosen])
    maps = [
        occlusion(within(fusion, seen, place), frame[None], texts) for place, frame in zip(chosen, pixels, strict=True)
    ]
    return SaliencyMaps(
        video=str(video),
        model=model.name,
        method="occlusion",
        sentences=tuple(sentences),
        times=times[chosen],
        best=shown_best(falls, chosen),
        pictures=reduced(pictures, PICTURE_PIXELS),
        seen=tower.visible(*pictures.shape[1:3]),
        values=falls[:, chosen],
        maps=torch.cat(maps).transpose(0, 1).cpu().numpy(),
        wholes=wholes,
    )


@torch.no_grad()
def without_each(
    fusion: FrameFusion, seen: DenseVideo, texts: Tensor
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Cosines of a video with texts, float32 (S,), and how far each falls where one frame is left out, (S, T).

    Of a video of one frame nothing would be left: that frame counts as 0.
    """
    count = len(seen.dense)
    whole = cosine(texts, fusion.fuse(seen.dense[None], seen.rounds))
    if count == 1:
        return whole[:, 0].cpu().numpy(), np.zeros((len(texts), 1), dtype=np.float32)
    rest = [torch.cat([seen.dense[:place], seen.dense[place + 1 :]]) for place in range(count)]
    vectors = torch.cat([fusion.fuse(some[None], seen.rounds) for some in rest])
    return whole[:, 0].cpu().numpy(), (whole - cosine(texts, vectors)).cpu().numpy()


def within(fusion: FrameFusion, seen: DenseVideo, place: int) -> Encode:
    """Inputs (K, C, h, w) in the place of one of a video's frames -> vectors (K, d) of the whole video."""
    return partial(_replaced, fusion, seen, place)


def _replaced(fusion: FrameFusion, seen: DenseVideo, place: int, pixels: Tensor) -> Tensor:
    """See `within`; as many copies of the video at a time as `LARGEST` allows."""
    parts = []
    for dense in fusion.features(pixels).split(max(1, LARGEST // seen.dense.numel())):
        copies = seen.dense.expand(len(dense), *seen.dense.shape).clone()
        copies[:, place] = dense
        parts.append(fusion.fuse(copies, seen.rounds))
    return torch.cat(parts)


def shown_best(values: npt.NDArray[np.float32], chosen: Sequence[int]) -> npt.NDArray[np.int64]:
    """Which of the chosen frames has each row's highest value of all; -1 where it is not among them."""
    best = values.argmax(axis=1).tolist()
    return np.array([chosen.index(place) if place in chosen else -1 for place in best], dtype=np.int64)
