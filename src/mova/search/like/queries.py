"""Queries that are not one text: lists of texts, vectors, pictures, and lists of any of them.

Shape legend: Q queries, S sentences, d width of the model's space.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from os import PathLike, fspath
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError
from mova.models.inputs.pixels import is_array, is_picture
from mova.models.inputs.texts import as_texts
from mova.scoring.false_alarm import BAR
from mova.search import query
from mova.search.cold.snapshot import AHEAD
from mova.search.narrow.answer import Answer
from mova.search.narrow.filter import Filter
from mova.search.narrow.selection import BatchReader
from mova.search.query import Query
from mova.utils.batching import batches

Searchable = Any
"""A `mova.search.index.Index`, which imports this file on first use."""

TEXT_BATCH = 256
"""Sentences encoded at once."""

_F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Vector:
    """A unit vector (d,) to search with."""

    values: _F32


def search_any(index: Searchable, queries: Any, k: int, options: dict[str, Any]) -> Answer | list[Answer]:
    """Return the answer to one query, or a list of answers to several, in their order.

    Args:
        index: the index.
        queries: as for `Index.search`, but not one text.
        k: moments per query.
        options: those of `Index.search`.

    Raises:
        UsageError: another type, a vector that cannot be compared, or an option that is for texts only.
        VideoError: a picture cannot be read.
    """
    if _is_one(queries):
        return _search_one(index, _of_value(index, queries), k, options)
    items = list(queries)
    if not items:
        raise UsageError("no queries: the list is empty")
    if all(isinstance(item, str) for item in items):
        return _search_texts(index, as_texts(items), k, options)
    read = [item if isinstance(item, str) else _of_value(index, item) for item in items]  # all are checked first
    if all(isinstance(item, Vector) for item in read):
        _require_no_text_options(options)
        return _answers(index, [(_query(item), None) for item in read if isinstance(item, Vector)], k, options)
    return [_search_one(index, item, k, options) for item in read]


def _is_one(queries: Any) -> bool:
    """Return whether a value is one query and not a list of them."""
    if isinstance(queries, PathLike | bytes) or hasattr(queries, "read") or is_picture(queries):
        return True
    if is_array(queries):
        return bool(queries.ndim == 1 and _kind(queries) == "f")
    return not isinstance(queries, Iterable)


def _search_one(index: Searchable, item: str | Vector | PathLike[str], k: int, options: dict[str, Any]) -> Answer:
    if isinstance(item, str):
        answer: Answer = index.search(item, k, **options)
        return answer
    _require_no_text_options(options)
    if isinstance(item, Vector):
        found: Answer = index._answer(_query(item), k, options)
        return found
    if options["min_score"] is not None:
        raise UsageError("min_score is for texts and vectors; omit it for the path of a picture")
    narrowed = {name: options[name] for name in ("filter", "skip", "trim")}
    like: Answer = index.search_like(fspath(item), k=k, **narrowed)
    return like


def vector_of(index: Searchable, value: Any) -> _F32 | None:
    """Return the unit vector (d,) of a picture in memory, or of a vector; None for anything else.

    Raises:
        UsageError, VideoError: see `search_any`.
    """
    if not (isinstance(value, bytes) or is_picture(value) or is_array(value) or hasattr(value, "read")):
        return None
    read = _of_value(index, value)
    return read.values if isinstance(read, Vector) else None


def _query(vector: Vector) -> Query:
    return Query("vector", ("vector",), vector.values[None], "none")


def _require_no_text_options(options: dict[str, Any]) -> None:
    texts_only = {"rescore": "auto", "order": "auto", "rerank": None, "false_alarm": BAR}
    if wrong := [name for name, default in texts_only.items() if options[name] != default]:
        raise UsageError(f"{wrong[0]} is for the sentences of a text; omit it for vectors and pictures")


def _of_value(index: Searchable, value: Any) -> Vector | PathLike[str]:
    """Return a path as it is, and the vector of a picture or of a row of numbers."""
    if isinstance(value, PathLike):
        return value
    if isinstance(value, bytes):
        value = BytesIO(value)
    if is_array(value) and value.ndim == 1:
        return Vector(_unit(index, value))
    if not (is_picture(value) or hasattr(value, "read")):
        shape = f" of the shape {tuple(value.shape)}" if is_array(value) else ""
        raise UsageError(
            f"a {type(value).__name__}{shape} is not a query; pass a text, a vector (d,), a picture, a path, or a list "
            "of them"
        )
    video = index.model.encode_video(value)
    if len(video.frames) > 1:
        raise UsageError(
            f"a video of {len(video.frames)} frames is not a query; search with one of its moments: "
            "index.search_like('film.mp4@1:23')"
        )
    return Vector(_unit(index, video.frames[0]))


def _unit(index: Searchable, value: Any) -> _F32:
    """Return a vector with unit length.

    Raises:
        UsageError: another width than the model's, values that are not finite, or zeros only.
    """
    array = value if isinstance(value, np.ndarray) else value.detach().cpu().float().numpy()
    dim = index.meta.dim
    if array.dtype.kind != "f" or array.shape != (dim,):
        raise UsageError(
            f"a vector of {index.meta.model} has {dim} floating-point numbers, not {array.dtype} of the shape "
            f"{array.shape}"
        )
    vector = array.astype(np.float64)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        problem = "contains only zeros" if length == 0 else "has values that are not finite (NaN)"
        raise UsageError(f"the vector {problem}")
    return (vector / length).astype(np.float32)


def _search_texts(index: Searchable, texts: Sequence[str], k: int, options: dict[str, Any]) -> list[Answer]:
    """Search texts of which all sentences are encoded together."""
    index.require_exists()
    order, rescore = options["order"], options["rescore"]
    sentences = [query.query_sentences(text) for text in texts]  # a text that is too long is found before a model loads
    encoders = [index._encoder(text, order, index.meta) for text in texts]
    prepared: dict[int, Query] = {}
    for encoder in {id(encoder): encoder for encoder in encoders}.values():
        chosen = [i for i in range(len(texts)) if encoders[i] is encoder]
        for part in batches(chosen, lambda i: len(sentences[i]), TEXT_BATCH):
            vectors = iter(encoder.encode_sentences([s for i in part for s in sentences[i]]).unit_vectors())
            for i in part:
                own = np.stack([next(vectors) for _ in sentences[i]])
                prepared[i] = Query.prepare(encoder, texts[i], rescore, vectors=own)
    return _answers(index, [(prepared[i], encoders[i]) for i in range(len(texts))], k, options)


def _answers(index: Searchable, queries: Sequence[tuple[Query, Any]], k: int, options: dict[str, Any]) -> list[Answer]:
    """Return the answers to queries with their encoders; their vectors are compared with all frames at once."""
    reader = index._selected(options["filter"] or Filter())
    look_ahead = reader.look_ahead if isinstance(reader, BatchReader) else None
    most = max(1, AHEAD // max(1, reader.count_frames()))
    answers: list[Answer] = []
    try:
        for part in batches(queries, lambda item: len(item[0].vectors), most):
            if look_ahead is not None and len(queries) > 1:
                look_ahead(np.concatenate([prepared.vectors for prepared, _ in part]))
            answers += [index._answer(prepared, k, options, encoder) for prepared, encoder in part]
    finally:
        if look_ahead is not None:
            look_ahead(np.empty((0, reader.meta.dim), np.float32))  # nothing is kept
    return answers


def _kind(array: Any) -> str:
    """Return the kind of an array's or a tensor's numbers, as NumPy abbreviates it."""
    if isinstance(array, np.ndarray):
        return array.dtype.kind
    return "f" if array.dtype.is_floating_point else "i"
