"""mova: align long videos with long texts.

    import mova
    model = mova.load("google/siglip2-base-patch32-256")
    timeline = model.align("film.mp4", "A man opens a door. Then he pours tea.")
    index = mova.Index("films.mova", model)
    index.add(["films/"])
    moments = index.search("a man pours tea")

The public names below are imported on first use, so that `import mova` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mova._version import __version__

if TYPE_CHECKING:
    from mova.models.registry import load
    from mova.search.index import Index
    from mova.types import Frames, Moment, Span, Timeline

_PUBLIC = {
    "load": "mova.models.registry",
    "Index": "mova.search.index",
    "Frames": "mova.types",
    "Span": "mova.types",
    "Moment": "mova.types",
    "Timeline": "mova.types",
}

__all__ = ["Frames", "Index", "Moment", "Span", "Timeline", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mova' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
