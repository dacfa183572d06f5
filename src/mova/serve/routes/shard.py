"""Offer the index to searches on other machines (`mova serve --shard`): records, nearest frames, and frames.

A search there runs as on this machine (`mova.search.shards.service`). Clients see the vectors and the full paths of
videos, which other routes never send, so that this is only there if it was asked for.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from pydantic import Field
from starlette.responses import JSONResponse, Response

from mova.errors import UsageError
from mova.search.narrow.selection import Reader, restricted
from mova.search.shards.wire import MOST_CONTENTS, ROOT, packed_frames, packed_records
from mova.search.storage.records import unit_length
from mova.serve.held import HeldIndex
from mova.serve.schemas.fields import Request
from mova.serve.services import Parts

router = APIRouter(prefix="/shard", tags=["shard"])
MOST_FRAMES = 1 << 17
"""Frames that one request may ask for beside those of the largest video."""

assert ROOT.endswith(router.prefix)

Content = Annotated[str, Field(max_length=64)]


class StateRequest(Request):
    """What is asked of one state of the index."""

    state: Annotated[str, Field(max_length=200)]


class FramesRequest(StateRequest):
    """Videos whose frames are sent."""

    contents: list[Content] = Field(max_length=MOST_CONTENTS)


class NearestRequest(StateRequest):
    """A unit vector, and the videos whose frames count."""

    query: list[Annotated[float, Field(ge=-1.1, le=1.1)]] = Field(max_length=1 << 14)
    limit: int = Field(ge=1)
    contents: list[Content] | None = Field(None, max_length=MOST_CONTENTS)


@router.get("")
async def present(parts: Parts) -> dict[str, Any]:
    """Return the present state of the index, its model and its settings."""
    return await parts.engine.run(parts.states.present, needs="index")


@router.post("/records")
async def records(parts: Parts, request: StateRequest) -> Response:
    """Return the records of all videos."""

    def pack(_: HeldIndex) -> bytes:
        """Read the records of the requested state."""
        reader: Reader = parts.states.reader(request.state)
        return packed_records(reader.records(), reader.meta.dim)

    return _bytes(await parts.engine.run(pack, needs="index"))


@router.post("/frames")
async def frames(parts: Parts, request: FramesRequest) -> Response:
    """Return the frames of videos."""

    def pack(_: HeldIndex) -> bytes:
        """Read the frames of the requested state."""
        reader: Reader = parts.states.reader(request.state)
        records = {record.content: record for record in reader.records().values()}
        sizes = [reader.meta.frames_of(records[name]) for name in set(request.contents) & records.keys()]
        if sum(sizes) - max(sizes, default=0) > MOST_FRAMES:
            raise UsageError(f"the videos have {sum(sizes)} frames; ask for at most {MOST_FRAMES} at a time")
        return packed_frames(reader.fetch(request.contents))

    return _bytes(await parts.engine.run(pack, needs="index"))


@router.post("/nearest")
async def nearest(parts: Parts, request: NearestRequest) -> Response:
    """Return the contents of the frames nearest to a vector, and their cosines."""

    def find(_: HeldIndex) -> dict[str, Any]:
        """Compare the vector with the frames of the requested state."""
        reader = parts.states.reader(request.state)
        if len(request.query) != reader.meta.dim:
            raise UsageError(f"the vector has {len(request.query)} numbers, and those of the index {reader.meta.dim}")
        query = np.array(request.query, np.float32)
        if not unit_length(query[None]):
            raise UsageError("the vector is not of unit length")
        if request.contents is not None:
            chosen = set(request.contents)
            own = {path: record for path, record in reader.records().items() if record.content in chosen}
            reader = restricted(reader, own)
        contents, cosines = reader.nearest(query, min(request.limit, max(1, reader.count_frames())))
        return {"contents": contents, "cosines": cosines.tolist()}

    found = await parts.engine.run(find, needs="index")
    return JSONResponse(found, headers={"cache-control": "no-store"})  # as it is: it may have many numbers


def _bytes(data: bytes) -> Response:
    return Response(data, media_type="application/octet-stream", headers={"cache-control": "no-store"})
