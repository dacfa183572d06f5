"""Align captions with videos, correct and export the result."""

from __future__ import annotations

from pathlib import PurePath

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from mova.serve.aligner import FORMATS, check_caption, cue_texts
from mova.serve.files.media import attachment
from mova.serve.problems import NotFound
from mova.serve.routes.leaving import unless_gone
from mova.serve.routes.search import printable_name
from mova.serve.schemas.align import (
    AlignmentOut,
    AlignRequest,
    CaptionOut,
    CorrectionOut,
    CorrectionRequest,
    ExportRequest,
    TextFile,
)
from mova.serve.services import Parts

router = APIRouter(tags=["align"])


@router.post("/videos/{video}/align")
async def align(parts: Parts, client: Request, video: str, request: AlignRequest) -> AlignmentOut:
    """Find the seconds of a video that each sentence of a caption describes."""
    entry = parts.catalog.entry(video)
    check_caption(request.text)
    work = parts.engine.run(lambda index: parts.aligner.align(index, entry, request.text, request.order))
    alignment = await unless_gone(client, work)
    return AlignmentOut(**alignment.to_json())


@router.post("/captions")
def caption(request: TextFile) -> CaptionOut:
    """Return the text of subtitles (SubRip, WebVTT), one cue per line; other text as it is."""
    return CaptionOut(text=cue_texts(request.name, request.content))


@router.post("/alignments/{alignment}/export", response_class=Response)
async def export(parts: Parts, alignment: str, request: ExportRequest) -> Response:
    """Return an alignment as a file: JSON, subtitles, a table, chapters, a timeline for editors, or a picture."""
    made = parts.aligner.get(alignment)
    data = await run_in_threadpool(parts.aligner.export, made, request.format, request.spans)
    kind, suffix = FORMATS[request.format]
    name = f"{PurePath(printable_name(made.entry.name)).stem}{suffix}"
    headers = {"content-disposition": attachment(name), "cache-control": "no-store"}
    return Response(data, media_type=kind, headers=headers)


@router.post("/alignments/{alignment}/corrections")
def correct(parts: Parts, alignment: str, request: CorrectionRequest) -> CorrectionOut:
    """Save corrected spans as a row of a manifest, to train or evaluate with."""
    row, rows = parts.aligner.save(parts.aligner.get(alignment), request.spans)
    return CorrectionOut(row=row, rows=rows, manifest=str(parts.aligner.corrections))


@router.get("/corrections", response_class=Response)
def corrections(parts: Parts) -> Response:
    """Return the manifest of all corrections that were saved."""
    path = parts.aligner.corrections
    if not path.is_file():
        raise NotFound("no correction was saved yet")
    data = path.read_bytes()
    headers = {"content-disposition": attachment("corrections.jsonl"), "cache-control": "no-store"}
    return Response(data, media_type="application/x-ndjson", headers=headers)
