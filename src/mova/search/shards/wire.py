"""Records and frames as bytes, between a service that offers its index and a search elsewhere (safetensors).

Vectors travel in half precision, as they are stored: nothing is lost.

Shape legend: T frames, W stored rows, n contents, d width of the model's space.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.search.cold.snapshot import read_videos, write_videos
from mova.search.storage.records import StoredFrames, VideoRecord, impossible, unit_length

FORMAT = 1
"""Version of the requests and answers."""
MOST_CONTENTS = 50_000
"""Contents that one request names: of 32 digits each, half of the largest request."""
ROOT = "/api/v1/shard"
"""Where a service offers its index."""
STATE = "state"
"""Key of the state of the index in a document; requests name the state that they are about."""


def packed_records(records: Mapping[str, VideoRecord], dim: int) -> bytes:
    """Return records as bytes.

    Args:
        records: by path.
        dim: d.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as name:
        path = Path(name) / "videos"
        write_videos(path, list(records.values()), {record.content: 0 for record in records.values()}, dim)
        return path.read_bytes()


def unpacked_records(data: bytes, dim: int) -> dict[str, VideoRecord]:
    """Return what `packed_records` was given.

    Args:
        data: its bytes.
        dim: d.

    Raises:
        ValueError, LookupError, TypeError: it is something else.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as name:
        path = Path(name) / "videos"
        path.write_bytes(data)
        records, _ = read_videos(path)
    for record in records.values():
        if problem := impossible(record):
            raise ValueError(problem)
        if record.mean.shape != (dim,):
            raise ValueError(f"the vector of {record.path!r} has shape {record.mean.shape}")
    return records


def packed_frames(frames: Mapping[str, StoredFrames]) -> bytes:
    """Return the frames of contents as bytes; of stretches, the vector of each once."""
    from safetensors.numpy import save

    parts = list(frames.values())
    tensors: dict[str, npt.NDArray[Any]] = {
        "frames": np.array([len(part.times) for part in parts], np.int64),
        "rows": np.array([part.stored_rows for part in parts], np.int64),
    }
    if parts:
        tensors["times"] = np.concatenate([part.times for part in parts])
        tensors["vectors"] = np.concatenate([_stored(part) for part in parts])
        if parts[0].windows is not None:
            tensors["windows"] = np.concatenate([part.windows for part in parts if part.windows is not None])
        if parts[0].firsts is not None:
            tensors["firsts"] = np.concatenate([part.firsts for part in parts if part.firsts is not None])
    return save(tensors, {"contents": json.dumps(list(frames))})


def unpacked_frames(data: bytes, dim: int) -> dict[str, StoredFrames]:
    """Return what `packed_frames` was given, with vectors in float32.

    Args:
        data: its bytes.
        dim: d.

    Raises:
        ValueError, LookupError, TypeError: it is something else, or has vectors that are not of unit length.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    size = int.from_bytes(data[:8], "little")
    contents = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["contents"])
    if not contents:
        return {}
    times, vectors = tensors["times"], tensors["vectors"].astype(np.float32)
    if vectors.shape != (int(tensors["rows"].sum()), dim) or len(times) != tensors["frames"].sum():
        raise ValueError(f"frames have shape {vectors.shape}")
    if not unit_length(vectors):
        raise ValueError("vectors are not of unit length")
    found, frame, row = {}, 0, 0
    for content, count, rows in zip(contents, tensors["frames"].tolist(), tensors["rows"].tolist(), strict=True):
        seen, stored = slice(frame, frame + count), slice(row, row + rows)
        windows = tensors["windows"][seen] if "windows" in tensors else None
        firsts = tensors["firsts"][stored] if "firsts" in tensors else None
        own = vectors[stored] if firsts is None else vectors[stored][_owners(firsts, count)]
        found[content] = StoredFrames(times[seen], own, windows, firsts)
        frame, row = frame + count, row + rows
    return found


def _stored(part: StoredFrames) -> npt.NDArray[np.float16]:
    """Return the vectors of the rows that frames were read from."""
    vectors = part.vectors if part.firsts is None else part.vectors[part.firsts]
    return vectors.astype(np.float16)


def _owners(firsts: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Return the stored row of each of `count` frames, from the first frame of each row."""
    return np.searchsorted(firsts, np.arange(count), side="right") - 1


def contents_of(records: Mapping[str, VideoRecord]) -> Sequence[str]:
    """Return the contents of records, each once, in order."""
    return sorted({record.content for record in records.values()})
