"""The picture of saliency maps: frames side by side, a row a sentence.

Shape legend: S sentences, F shown frames, H W source pixels, r c rows and columns of a map. Lengths are inches.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap

from mova.explain.maps import SaliencyMaps
from mova.plots.style import INK, MUTED, Page
from mova.types import Pixels
from mova.utils.time_format import clock

WIDTH, NARROWEST, MARGIN, TOP, GAP, LINE, FOOT = 13.0, 10.5, 0.35, 1.12, 0.1, 0.2, 0.26
WIDEST = 2.4
"""Of a frame."""
CHARACTERS = 120
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
WHAT_WHOLE = (
    "Colour: where a small patch of a frame's mean colour, laid over it, lowers the {score} of the whole video with "
    "the text (yellow to red) or raises it (blue)."
)
SCALE = (
    "Every frame has its own scale, and is the paler the lower its cosine beside the best shown one. "
    "Outlined: the sentence's most relevant frame of the video."
)
SCALE_WHOLE = (
    "All frames of a text have one scale. Under each: what changes when that frame is {lacking}. "
    "Outlined: where it falls most."
)


def overlay(
    values: npt.NDArray[np.float32], strength: float = 1.0, highest: float | None = None
) -> npt.NDArray[np.float32]:
    """Colours and opacity of a map: clear where it is 0, strongest where its size is greatest.

    Args:
        values: (r, c).
        strength: in [0, 1], of the whole map.
        highest: what counts as the greatest size; that of the map itself if left out.

    Returns:
        float32, (r, c, 4), RGBA in [0, 1].
    """
    share = values / max(float(np.abs(values).max()) if highest is None else highest, 1e-12)
    colours = HEAT(0.5 + share / 2).astype(np.float32)
    colours[..., 3] = OPAQUE * strength * np.abs(share)
    return colours


def draw_saliency(found: SaliencyMaps, path: str | Path) -> None:
    """Draw frames and maps as PNG; the folder is made."""
    count, (tall, wide) = len(found.times), found.pictures.shape[1:3]
    column = min(WIDEST, (WIDTH - 2 * MARGIN - GAP * (count - 1)) / count)
    picture = column * tall / wide
    texts = [textwrap.wrap(_heading(found, k), CHARACTERS) for k in range(len(found.sentences))]
    rows = [0.12 + LINE * len(lines) + picture + FOOT for lines in texts]
    width = max(NARROWEST, 2 * MARGIN + column * count + GAP * (count - 1))
    page = Page(width, TOP + picture + 0.1 + sum(rows) + 0.2)
    _title(page, found, width)
    grey = _greyed(found.pictures, found.seen)
    lefts = [MARGIN + i * (column + GAP) for i in range(count)]
    for left, time, frame in zip(lefts, found.times, found.pictures, strict=True):
        page.text(left, TOP - 0.04, clock(float(time), 1), size=9, va="bottom")
        page.plot(left, TOP, column, picture).imshow(frame, interpolation="antialiased", aspect="auto")
    top = TOP + picture + 0.1
    for k, lines in enumerate(texts):
        at = top + 0.12 + LINE * len(lines)
        page.text(MARGIN, at - 0.05, "\n".join(lines), size=9.5, va="bottom", linespacing=1.3)
        colours = _colours(found, k)
        for i, left in enumerate(lefts):
            is_best = i == found.best[k]
            _panel(page.plot(left, at, column, picture), grey[i], colours[i], found.seen)
            if is_best:
                page.box(left, at, column, picture, fill=False, edgecolor=INK, linewidth=2.2)
            told = _value(found, k, i) + (" · best" if is_best else "")
            page.text(left, at + picture + 0.05, told, size=8, va="top", color=INK if is_best else MUTED)
        top += rows[k]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def _heading(found: SaliencyMaps, sentence: int) -> str:
    told = "" if found.wholes is None else f"  ({found.score} {found.wholes[sentence]:.2f})"
    return f"{sentence + 1}  {found.sentences[sentence]}{told}"


def _title(page: Page, found: SaliencyMaps, width: float) -> None:
    name = textwrap.shorten(Path(found.video).name, 60, placeholder="…")
    page.text(MARGIN, 0.36, f"Where frames show each sentence · {name}", size=13, weight="bold", va="baseline")
    page.text(width - MARGIN, 0.36, Path(found.model).name, size=9.5, color=MUTED, ha="right", va="baseline")
    whole = found.wholes is not None
    page.text(MARGIN, 0.6, _for(WHAT_WHOLE, found) if whole else WHAT[found.method], size=9, color=MUTED, va="baseline")
    page.text(MARGIN, 0.78, _for(SCALE_WHOLE, found) if whole else SCALE, size=9, color=MUTED, va="baseline")


def _for(words: str, found: SaliencyMaps) -> str:
    return words.format(score=found.score, lacking=found.lacking)


def _value(found: SaliencyMaps, sentence: int, frame: int) -> str:
    value = float(found.values[sentence, frame])
    return f"cosine {value:.2f}" if found.wholes is None else f"{-value:+.3f} {found.lacking}"


def _colours(found: SaliencyMaps, sentence: int) -> list[npt.NDArray[np.float32]]:
    """Overlays of a sentence's F maps: each by its own scale and paler the lower its cosine, or all by one scale."""
    maps = found.maps[sentence]
    if found.wholes is not None:
        highest = float(np.abs(maps).max())
        return [overlay(values, highest=highest) for values in maps]
    strengths = np.exp((found.values[sentence] - found.values[sentence].max()) / PALING)
    return [overlay(values, strength) for values, strength in zip(maps, strengths.tolist(), strict=True)]


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
