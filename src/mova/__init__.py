"""mova: align long videos with long texts.

    import mova
    model = mova.load("google/siglip2-base-patch32-256")
    model.score("film.mp4", "a man pours tea")
    timeline = model.align("film.mp4", "A man opens a door. Then he pours tea.")
    index = mova.Index("films.mova", model)
    index.add(["films/"])
    moments = index.search("a man pours tea")

The public names below, and the packages of mova (`mova.errors`, `mova.losses`, ...), are imported on first use, so that
`import mova` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mova._version import __version__

if TYPE_CHECKING:
    from mova.data.manifest import Row, read_manifest, write_manifest
    from mova.errors import MovaError
    from mova.eval.report import Report
    from mova.models.embeddings import TextEmbedding, VideoEmbedding
    from mova.models.registry import load
    from mova.search.index import Index
    from mova.search.narrow.answer import Answer
    from mova.search.narrow.filter import Filter
    from mova.search.narrow.trim import Trim
    from mova.search.second_stage.reranker import Reranker
    from mova.search.shards.index import ShardedIndex
    from mova.types import Frames, Moment, Span, Timeline

_PUBLIC = {
    "load": "mova.models.registry",
    "Index": "mova.search.index",
    "ShardedIndex": "mova.search.shards.index",
    "Answer": "mova.search.narrow.answer",
    "Filter": "mova.search.narrow.filter",
    "Trim": "mova.search.narrow.trim",
    "Reranker": "mova.search.second_stage.reranker",
    "Frames": "mova.types",
    "Span": "mova.types",
    "Moment": "mova.types",
    "Timeline": "mova.types",
    "TextEmbedding": "mova.models.embeddings",
    "VideoEmbedding": "mova.models.embeddings",
    "Report": "mova.eval.report",
    "Row": "mova.data.manifest",
    "read_manifest": "mova.data.manifest",
    "write_manifest": "mova.data.manifest",
    "MovaError": "mova.errors",
}
_PACKAGES = (
    "baselines",
    "client",
    "data",
    "displayed",
    "errors",
    "eval",
    "explain",
    "exports",
    "features",
    "judge",
    "losses",
    "models",
    "plots",
    "scoring",
    "search",
    "text",
    "text_to_video",
    "train",
    "types",
    "video",
    "worlds",
)

__all__ = [
    "Answer",
    "Filter",
    "Frames",
    "Index",
    "Moment",
    "MovaError",
    "Report",
    "Reranker",
    "Row",
    "ShardedIndex",
    "Span",
    "TextEmbedding",
    "Timeline",
    "Trim",
    "VideoEmbedding",
    "__version__",
    "load",
    "read_manifest",
    "write_manifest",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        with import_module("mova.errors").needs_packages():
            return getattr(import_module(_PUBLIC[name]), name)
    if name in _PACKAGES:
        return import_module(f"mova.{name}")
    raise AttributeError(f"module 'mova' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *_PACKAGES} - {"Any", "TYPE_CHECKING", "annotations", "import_module"})
