"""Export chosen moments as one file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from mova.exports.moments import Clip
from mova.serve.files.collector import FORMATS, collect
from mova.serve.files.media import CHUNK, attachment
from mova.serve.routes.search import printable_name
from mova.serve.schemas.search import CollectRequest
from mova.serve.services import Parts

router = APIRouter(tags=["search"])


@router.post("/exports", response_class=Response)
def export_moments(parts: Parts, request: CollectRequest) -> Response:
    """Return chosen moments: clips in a zip archive, or their times as CSV, EDL, OTIO or SRT."""
    chosen = []
    for moment in request.moments:
        entry = parts.catalog.entry(moment.video)
        duration = entry.record.duration
        name = printable_name(entry.name)
        chosen.append((entry, Clip(name, moment.start, min(moment.end, duration), moment.label, duration)))
    file = collect(request.format, chosen, parts.transcoder, parts.pictures)
    kind, name = FORMATS[request.format]
    headers = {"content-disposition": attachment(name), "cache-control": "no-store"}
    return StreamingResponse(_parts(file), media_type=kind, headers=headers)


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while data := file.read(CHUNK):
            yield data
