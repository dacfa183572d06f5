"""Shared page style of all pictures: a page in inches, colors and fonts, without matplotlib's global state.

Lengths are in inches from the upper left corner.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mova.utils.replacing import replacing

DPI = 144
INK, MUTED, PALE = "#1d2433", "#6b7385", "#d5d9e2"
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "Noto Sans Devanagari")


def with_minus_signs(text: str) -> str:
    """Replace hyphens by typographic minus signs, as axes have.

    Example:
        >>> with_minus_signs("mean -0.5") == "mean \\u22120.5"
        True
    """
    return text.replace("-", "\u2212")


class Page:
    """A white page of `width` x `height` inches."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.family = installed_fonts()

    def plot(self, left: float, top: float, width: float, height: float) -> Any:
        """Add axes without ticks or borders."""
        axes = self.figure.add_axes(self._fractions(left, top, width, height))
        axes.set(xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set_visible(False)
        return axes

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write text, never parsed as a formula; undecodable bytes of a file name become "?"."""
        options: dict[str, Any] = {"color": INK, "family": self.family, "parse_math": False} | style
        self.figure.text(left / self.width, 1 - top / self.height, text.encode(errors="replace").decode(), **options)

    def box(self, left: float, top: float, width: float, height: float, **style: Any) -> None:
        """Draw a rectangle."""
        x, y, wide, tall = self._fractions(left, top, width, height)
        patch = Rectangle((x, y), wide, tall, transform=self.figure.transFigure, **style)
        self.figure.add_artist(patch)

    def save(self, path: str | Path) -> None:
        """Save the page as PNG."""
        with replacing(path) as temporary:
            self.figure.savefig(temporary, format="png")

    def _fractions(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Convert to fractions of the page, from its lower left corner."""
        return left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height


def installed_fonts() -> list[str]:
    """Return the installed fonts that together cover most scripts."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in FONTS if name in installed]
