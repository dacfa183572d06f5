"""Videos, their pictures, and the files themselves in ranges."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from mova.serve.files.media import TYPES, send_file, send_path
from mova.serve.files.pictures import HEIGHTS
from mova.serve.files.transcode import PREVIEW_SIDE
from mova.serve.routes.paging import After, Limit, page
from mova.serve.routes.search import printable_name, video_out
from mova.serve.schemas.fields import PAGE
from mova.serve.schemas.videos import Video, VideoPage
from mova.serve.services import Parts

router = APIRouter(prefix="/videos", tags=["videos"])
Time = Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False, description="Seconds.")]

Height = Annotated[int, Query(ge=1, le=HEIGHTS[-1], description="Pixels of the shorter side, at least.")]


@router.get("", response_model_exclude_none=True)
def videos(
    parts: Parts,
    limit: Limit = PAGE,
    cursor: After = None,
    name: Annotated[str, Query(max_length=200, description="Part of a name or folder.")] = "",
) -> VideoPage:
    """List the indexed videos, in order of path."""
    entries = list(parts.catalog.entries().values()) if parts.catalog.exists else []
    if name:
        entries = [entry for entry in entries if name.lower() in f"{entry.folder}/{entry.name}".lower()]
    chosen, following = page(entries, cursor, limit, lambda entry: entry.id)
    return VideoPage(
        videos=[video_out(entry) for entry in chosen],
        total=len(entries),
        duration=round(sum(entry.record.duration for entry in entries), 1),
        next=following,
    )


@router.get("/{video}")
def video(parts: Parts, video: str) -> Video:
    """Describe a video."""
    return video_out(parts.catalog.entry(video))


@router.get("/{video}/thumbnail", response_class=Response)
def thumbnail(parts: Parts, video: str, request: Request, t: Time = 0.0, height: Height = HEIGHTS[-1]) -> Response:
    """Return the frame on display at a time, as JPEG."""
    made = next(side for side in HEIGHTS if side >= height)
    path = parts.pictures.thumbnail(parts.catalog.entry(video), t, made)
    return send_path(path, request.headers, media_type="image/jpeg")


@router.head("/{video}/file", include_in_schema=False)
@router.get("/{video}/file", response_class=Response)
def original(parts: Parts, video: str, request: Request, download: bool = False) -> Response:
    """Return the file, or a range of it."""
    entry = parts.catalog.entry(video)
    return send_file(
        parts.catalog.open(entry),
        request.headers,
        media_type=TYPES.get(PurePath(entry.name).suffix.lower(), "application/octet-stream"),
        etag=entry.record.content,
        cache="private, no-cache",
        name=printable_name(entry.name) if download else None,
        head=request.method == "HEAD",
    )


@router.get("/{video}/preview", response_class=Response)
def preview(parts: Parts, video: str, request: Request, start: Time, end: Time) -> Response:
    """Return a part of a video in a format that every browser plays (MP4, H.264), starting at time 0."""
    path = parts.transcoder.clip(parts.catalog.entry(video), start, end, PREVIEW_SIDE)
    return send_path(path, request.headers, media_type="video/mp4")


@router.get("/{video}/clip", response_class=Response)
def clip(parts: Parts, video: str, request: Request, start: Time, end: Time) -> Response:
    """Return exactly `[start, end)` of a video as an MP4 file to save."""
    entry = parts.catalog.entry(video)
    path = parts.transcoder.clip(entry, start, end)
    name = f"{PurePath(printable_name(entry.name)).stem}_{start:.2f}-{end:.2f}.mp4"
    return send_path(path, request.headers, media_type="video/mp4", name=name)
