"""Draw saliency maps: frames side by side, one row per sentence.

Shape legend: S sentences, F displayed frames, H W source pixels, r c rows and columns of a map. Lengths are in inches.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap

from mova.explain.maps import SaliencyMaps
from mova.explain.stretches import ScoreCurves
from mova.plots.style import INK, MUTED, Page, with_minus_signs
from mova.scoring.spans import drawn_cells
from mova.types import Pixels
from mova.utils.time_format import clock

WIDTH, NARROWEST, MARGIN, TOP, GAP, LINE, FOOT = 13.0, 10.5, 0.35, 1.12, 0.1, 0.2, 0.26
STRIP, ACTIVE = 0.42, "#d81b2a"
"""Height of a timeline, and the color of its active stretches."""
WIDEST = 2.4
"""Maximum width of a frame."""
CHARACTERS = 120
HEAT = LinearSegmentedColormap.from_list("heat", ["#0b3c8c", "#2f7fd0", "#8fd0ee", "#ffd95a", "#ff7b1c", "#c4001a"])
OPAQUE = 0.85
"""Opacity of the strongest patches; weaker ones are more transparent."""
PALING = 0.3
"""A frame whose cosine is this far below the best displayed one is drawn at 1/e of its strength."""
CAPTIONS = {
    "gradcam": "Color (yellow to red): patches whose features raise the {score} between frame and sentence (Grad-CAM).",
    "occlusion": "Color: where covering a small patch with the frame's mean color lowers the {score} with the sentence "
    "(yellow to red) or raises it (blue).",
}
CAPTION_WHOLE = (
    "Color: where covering a small patch with the frame's mean color lowers the {score} of the whole video with the "
    "text (yellow to red) or raises it (blue)."
)
SCALE = (
    "Each frame has its own scale; frames with a lower {score} are paler. Black: the most relevant frame. Red: "
    "stretches in which the {score} is active (half of its peak), and their frames."
)
SCALE_WHOLE = (
    "All frames of a text share one scale. Below each frame: the change of the score when that frame is {lacking}. "
    "Outlined: the largest decrease."
)


def overlay(
    values: npt.NDArray[np.float32], strength: float = 1.0, highest: float | None = None
) -> npt.NDArray[np.float32]:
    """Color a map: transparent where it is 0, most opaque where its absolute value is largest.

    Args:
        values: (r, c).
        strength: opacity factor of the whole map, in [0, 1].
        highest: absolute value drawn at full opacity (default: the largest of the map).

    Returns:
        float32, (r, c, 4), RGBA in [0, 1].

    Example:
        >>> rgba = overlay(np.array([[0.0, 1.0]], dtype=np.float32))
        >>> rgba.shape, rgba[..., 3].round(2).tolist()
        ((1, 2, 4), [[0.0, 0.8500000238418579]])
    """
    share = values / max(float(np.abs(values).max()) if highest is None else highest, 1e-12)
    colors = HEAT(0.5 + share / 2).astype(np.float32)
    colors[..., 3] = OPAQUE * strength * np.abs(share)
    return colors


def draw_saliency(maps: SaliencyMaps, path: str | Path) -> None:
    """Draw frames and maps as PNG; the folder is created if missing."""
    count, (tall, wide) = len(maps.times), maps.pictures.shape[1:3]
    column = min(WIDEST, (WIDTH - 2 * MARGIN - GAP * (count - 1)) / count)
    picture = column * tall / wide
    texts = [textwrap.wrap(_heading(maps, k), CHARACTERS) for k in range(len(maps.sentences))]
    strip = 0.0 if maps.timeline is None else STRIP + 0.14
    rows = [0.12 + LINE * len(lines) + picture + FOOT + strip for lines in texts]
    width = max(NARROWEST, 2 * MARGIN + column * count + GAP * (count - 1))
    page = Page(width, TOP + picture + 0.1 + sum(rows) + 0.2)
    _title(page, maps, width)
    gray = _grayed(maps.pictures, maps.visible)
    lefts = [MARGIN + i * (column + GAP) for i in range(count)]
    for left, time, frame in zip(lefts, maps.times, maps.pictures, strict=True):
        page.text(left, TOP - 0.04, clock(float(time), 1), size=9, va="bottom")
        page.plot(left, TOP, column, picture).imshow(frame, interpolation="antialiased", aspect="auto")
    top = TOP + picture + 0.1
    for k, lines in enumerate(texts):
        at = top + 0.12 + LINE * len(lines)
        page.text(MARGIN, at - 0.05, "\n".join(lines), size=9.5, va="bottom", linespacing=1.3)
        colors, active = _colors(maps, k), _active(maps, k)
        for i, left in enumerate(lefts):
            is_best = i == maps.best[k]
            _panel(page.plot(left, at, column, picture), gray[i], colors[i], maps.visible)
            if active[i]:
                page.box(left, at, column, picture, fill=False, edgecolor=ACTIVE, linewidth=2.2)
            if is_best:
                page.box(left + 0.04, at + 0.04, column - 0.08, picture - 0.08, fill=False, edgecolor=INK, linewidth=2)
            label = _value(maps, k, i) + (" · best" if is_best else "")
            page.text(left, at + picture + 0.05, label, size=8, va="top", color=INK if is_best else MUTED)
        if maps.timeline is not None:
            _timeline(page, maps, maps.timeline, k, (MARGIN, at + picture + FOOT, width - 2 * MARGIN))
        top += rows[k]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def _heading(maps: SaliencyMaps, sentence: int) -> str:
    score = "" if maps.video_scores is None else f"  ({maps.score} {_signed(maps.video_scores[sentence])})"
    return f"{sentence + 1}  {maps.sentences[sentence]}{score}"


def _title(page: Page, maps: SaliencyMaps, width: float) -> None:
    name = textwrap.shorten(Path(maps.video).name, 60, placeholder="…")
    page.text(MARGIN, 0.36, f"Where each sentence is visible · {name}", size=13, weight="bold", va="baseline")
    page.text(width - MARGIN, 0.36, Path(maps.model).name, size=9.5, color=MUTED, ha="right", va="baseline")
    whole = maps.video_scores is not None
    page.text(
        MARGIN,
        0.6,
        _fill(CAPTION_WHOLE if whole else CAPTIONS[maps.method], maps),
        size=9,
        color=MUTED,
        va="baseline",
    )
    page.text(MARGIN, 0.78, _fill(SCALE_WHOLE if whole else SCALE, maps), size=9, color=MUTED, va="baseline")


def _active(maps: SaliencyMaps, sentence: int) -> list[bool]:
    """Return which of the F frames lie in active stretches of a sentence."""
    stretches = () if maps.timeline is None else maps.timeline.active(sentence)
    return [any(found.span.start <= time < found.span.end for found in stretches) for time in maps.times]


def _timeline(
    page: Page, maps: SaliencyMaps, timeline: ScoreCurves, sentence: int, at: tuple[float, float, float]
) -> None:
    """Draw the score of all sampled frames at (left, top, width), and boxes around its active stretches."""
    axes = page.plot(*at, STRIP)
    edges, frames = drawn_cells(timeline.times, timeline.duration, timeline.step)
    curve = timeline.curves[sentence]
    heights = np.where(frames >= 0, curve[frames], np.nan)
    low, high = float(curve.min()), float(curve.max())
    low -= 0.1 * max(high - low, 1e-6)
    axes.stairs(heights, edges, baseline=low, fill=True, facecolor="#cfd6e2", edgecolor="none")
    for found in timeline.active(sentence):
        axes.axvspan(found.span.start, found.span.end, facecolor="none", edgecolor=ACTIVE, linewidth=1.6, clip_on=False)
    axes.vlines(maps.times, low, high, color=INK, linewidth=0.7, linestyle=(0, (2, 2)))
    axes.set(xlim=(0, timeline.duration), ylim=(low, max(high, low + 1e-6)))


def _fill(text: str, maps: SaliencyMaps) -> str:
    return text.format(score=maps.score, lacking=maps.removal)


def _value(maps: SaliencyMaps, sentence: int, frame: int) -> str:
    value = float(maps.values[sentence, frame])
    return (
        f"{maps.score} {_signed(value)}" if maps.video_scores is None else f"{_signed(-value, '+.3f')} {maps.removal}"
    )


def _signed(value: float, form: str = ".2f") -> str:
    return with_minus_signs(format(value, form))


def _colors(maps: SaliencyMaps, sentence: int) -> list[npt.NDArray[np.float32]]:
    """Color the F maps of a sentence: each on its own scale and paler for lower cosines, or all on one scale."""
    values = maps.maps[sentence]
    if maps.video_scores is not None:
        highest = float(np.abs(values).max())
        return [overlay(frame, highest=highest) for frame in values]
    strengths = np.exp((maps.values[sentence] - maps.values[sentence].max()) / PALING)
    return [overlay(frame, strength) for frame, strength in zip(values, strengths.tolist(), strict=True)]


def _grayed(pictures: Pixels, seen: tuple[float, float]) -> Pixels:
    """Return lighter gray pictures, (F, H, W), so that map colors stand out; faded outside the visible region."""
    gray = pictures @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    rows, columns = (
        np.abs((np.arange(side) + 0.5) / side - 0.5) <= share / 2
        for side, share in zip(gray.shape[1:], seen, strict=True)
    )
    inside = rows[:, None] & columns[None]
    return np.where(inside, 80 + gray * (175 / 255), 215 + gray * (40 / 255)).astype(np.uint8)


def _panel(axes: Any, gray: Pixels, colors: npt.NDArray[np.float32], seen: tuple[float, float]) -> None:
    """Draw a gray frame, and its map over the part that the model sees."""
    tall, wide = seen
    axes.imshow(gray, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0), aspect="auto", interpolation="antialiased")
    area = (0.5 - wide / 2, 0.5 + wide / 2, 0.5 + tall / 2, 0.5 - tall / 2)
    axes.imshow(colors, extent=area, aspect="auto", interpolation="bilinear")
    axes.set(xlim=(0, 1), ylim=(1, 0))
