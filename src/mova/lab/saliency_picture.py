"""Saliency maps of a video and a caption, and their picture: frames side by side, a row a sentence.

Shape legend: S sentences, F shown frames, H W source pixels, r c rows and columns of a map. Lengths are inches.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.colors import LinearSegmentedColormap
from torch.nn import functional as F

from mova.clock import clock
from mova.errors import UsageError
from mova.lab.keyframes import PICTURE_PIXELS, Pixels, choose_frames, read_inputs, reduced
from mova.lab.saliency import grad_cam, occlusion
from mova.lab.sight import look_into
from mova.lab.style import INK, MUTED, Page
from mova.models.dual import DualEncoder
from mova.models.similarity import cosine

Method = Literal["gradcam", "occlusion"]

WIDTH, MARGIN, TOP, GAP, LINE, FOOT = 13.0, 0.35, 1.12, 0.1, 0.2, 0.26
WIDEST = 2.4
"""Of a frame."""
CHARACTERS = 150
FINEST = 16
"""Rows and columns of a map in the JSON document, at most."""
HEAT = LinearSegmentedColormap.from_list("heat", ["#0b3c8c", "#2f7fd0", "#8fd0ee", "#ffd95a", "#ff7b1c", "#c4001a"])
OPAQUE = 0.85
"""Of the strongest places; weaker ones let the frame through."""
PALING = 0.3
"""A frame whose cosine lies so far below the best shown one is drawn with 1/e of its strength."""
WHAT = {
    "gradcam": "Colour, yellow to red: patches whose features raise the cosine of frame and sentence (Grad-CAM).",
    "occlusion": "Colour: where a small patch of the frame's mean colour, laid over it, lowers the cosine with the "
    "sentence (yellow to red) or raises it (blue).",
}
SCALE = (
    "Every frame has its own scale, and is the paler the lower its cosine beside the best shown one. "
    "Outlined: the sentence's most relevant frame of the video."
)


@dataclass(frozen=True, eq=False)
class SaliencyMaps:
    """Where the shown frames of a video show each sentence.

    Attributes:
        video, model: names.
        method: "gradcam" or "occlusion".
        sentences: S texts.
        times: (F,) seconds.
        best: (S,) which of the F frames is the sentence's most relevant one of the whole video; -1 where that one is
            not shown.
        pictures: uint8, (F, H, W, 3).
        seen: shares of height and width that the model sees, around the middle; maps lie there.
        cosines: float32, (S, F).
        maps: float32, (S, F, r, c).
    """

    video: str
    model: str
    method: Method
    sentences: tuple[str, ...]
    times: npt.NDArray[np.float64]
    best: npt.NDArray[np.int64]
    pictures: Pixels
    seen: tuple[float, float]
    cosines: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]

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
                        "cosine": round(float(self.cosines[k, i]), 6),
                        "map": [[round(float(value), 6) for value in row] for row in small[k, i]],
                    }
                    for k in range(len(self.sentences))
                ],
            }
            for i, time in enumerate(self.times)
        ]
        return {
            "video": self.video,
            "model": self.model,
            "method": self.method,
            "sentences": list(self.sentences),
            "area": area,
            "frames": cells,
        }


def saliency_maps(
    model: DualEncoder, video: str | Path, sentences: Sequence[str], count: int, method: Method
) -> SaliencyMaps:
    """Saliency of the most relevant frames of a video, one for each sentence, and of frames between them.

    Args:
        model: a `TwoTower`, a `WorldsTiny`, or a `Mova` around one.
        video: a file.
        sentences: S texts.
        count: most frames to show.
        method: "gradcam" or "occlusion".

    Raises:
        UsageError: no sentence, `count` below 1, or a model that the method does not know.
        VideoError: the file cannot be read.
    """
    sight = look_into(model)
    if method == "gradcam" and sight.reader is None:
        raise UsageError(f"{model.name}: no grid of patches is known of this kind of model; use the method occlusion")
    texts = model.encode_text(list(sentences)).pooled
    seen = model.encode_video(video)
    relevance = model.relevance(texts, seen).cpu().numpy()
    chosen = choose_frames(relevance, seen.times, count)
    pictures, pixels = read_inputs(sight, video, seen.times, chosen)
    if method == "gradcam" and sight.reader is not None:
        maps = grad_cam(sight.encode, sight.reader, sight.cell, pixels, texts)
    else:
        maps = occlusion(sight.encode, pixels, texts)
    best = [chosen.index(t) if t in chosen else -1 for t in relevance.argmax(axis=1).tolist()]
    return SaliencyMaps(
        video=str(video),
        model=model.name,
        method=method,
        sentences=tuple(sentences),
        times=seen.times[chosen],
        best=np.array(best, dtype=np.int64),
        pictures=reduced(pictures, PICTURE_PIXELS),
        seen=sight.seen(*pictures.shape[1:3]),
        cosines=cosine(texts, seen.frames[chosen]).cpu().numpy(),
        maps=maps.transpose(0, 1).cpu().numpy(),
    )


def overlay(values: npt.NDArray[np.float32], strength: float = 1.0) -> npt.NDArray[np.float32]:
    """Colours and opacity of a map: clear where it is 0, strongest where its size is greatest.

    Args:
        values: (r, c).
        strength: in [0, 1], of the whole map.

    Returns:
        float32, (r, c, 4), RGBA in [0, 1].
    """
    share = values / max(float(np.abs(values).max()), 1e-12)
    colours = HEAT(0.5 + share / 2).astype(np.float32)
    colours[..., 3] = OPAQUE * strength * np.abs(share)
    return colours


def draw_saliency(found: SaliencyMaps, path: str | Path) -> None:
    """Draw frames and maps as PNG; the folder is made."""
    count, (tall, wide) = len(found.times), found.pictures.shape[1:3]
    column = min(WIDEST, (WIDTH - 2 * MARGIN - GAP * (count - 1)) / count)
    picture = column * tall / wide
    texts = [textwrap.wrap(f"{k + 1}  {text}", CHARACTERS) for k, text in enumerate(found.sentences)]
    rows = [0.12 + LINE * len(lines) + picture + FOOT for lines in texts]
    page = Page(WIDTH, TOP + picture + 0.1 + sum(rows) + 0.2)
    _title(page, found)
    grey = _greyed(found.pictures, found.seen)
    lefts = [MARGIN + i * (column + GAP) for i in range(count)]
    for left, time, frame in zip(lefts, found.times, found.pictures, strict=True):
        page.text(left, TOP - 0.04, clock(float(time), 1), size=9, va="bottom")
        page.plot(left, TOP, column, picture).imshow(frame, interpolation="antialiased", aspect="auto")
    top = TOP + picture + 0.1
    for k, lines in enumerate(texts):
        at = top + 0.12 + LINE * len(lines)
        page.text(MARGIN, at - 0.05, "\n".join(lines), size=9.5, va="bottom", linespacing=1.3)
        strengths = _strengths(found.cosines[k])
        for i, left in enumerate(lefts):
            is_best = i == found.best[k]
            _panel(page.plot(left, at, column, picture), grey[i], overlay(found.maps[k, i], strengths[i]), found.seen)
            if is_best:
                page.box(left, at, column, picture, fill=False, edgecolor=INK, linewidth=2.2)
            told = f"cosine {found.cosines[k, i]:.2f}" + (" · best" if is_best else "")
            page.text(left, at + picture + 0.05, told, size=8, va="top", color=INK if is_best else MUTED)
        top += rows[k]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def _title(page: Page, found: SaliencyMaps) -> None:
    name = textwrap.shorten(Path(found.video).name, 60, placeholder="…")
    page.text(MARGIN, 0.36, f"Where frames show each sentence · {name}", size=13, weight="bold", va="baseline")
    page.text(WIDTH - MARGIN, 0.36, Path(found.model).name, size=9.5, color=MUTED, ha="right", va="baseline")
    page.text(MARGIN, 0.6, WHAT[found.method], size=9, color=MUTED, va="baseline")
    page.text(MARGIN, 0.78, SCALE, size=9, color=MUTED, va="baseline")


def _strengths(cosines: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How strongly each frame's map of a sentence is drawn: (F,) cosines -> (F,) in (0, 1], 1 for the best one."""
    return np.exp((cosines - cosines.max()) / PALING)


def _greyed(pictures: Pixels, seen: tuple[float, float]) -> Pixels:
    """Lighter pictures without colour, (F, H, W), on which a map's colours can be told; veiled beyond what is seen."""
    grey = pictures @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    rows, columns = (
        np.abs((np.arange(side) + 0.5) / side - 0.5) <= share / 2
        for side, share in zip(grey.shape[1:], seen, strict=True)
    )
    inside = rows[:, None] & columns[None]
    return np.where(inside, 80 + grey * (175 / 255), 215 + grey * (40 / 255)).astype(np.uint8)


def _panel(axes: Any, grey: Pixels, colours: npt.NDArray[np.float32], seen: tuple[float, float]) -> None:
    """A grey frame and its map over the part that the model sees."""
    tall, wide = seen
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0), aspect="auto", interpolation="antialiased")
    area = (0.5 - wide / 2, 0.5 + wide / 2, 0.5 + tall / 2, 0.5 - tall / 2)
    axes.imshow(colours, extent=area, aspect="auto", interpolation="bilinear")
    axes.set(xlim=(0, 1), ylim=(1, 0))
