"""What is indexed; folders to add; jobs with progress; forgetting."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import PurePath

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from mova.search.index import Index
from mova.serve.library.catalog import Entry, video_id
from mova.serve.library.folders import shown_path
from mova.serve.library.jobs import Job
from mova.serve.problems import NotFound, Problem
from mova.serve.routes.search import printable_name
from mova.serve.schemas import (
    FailedFile,
    FolderOut,
    FolderPage,
    Forgotten,
    IndexedFolder,
    JobOut,
    JobRequest,
    LibraryOut,
    RootOut,
)
from mova.serve.services import Parts, Services
from mova.utils.file_lock import LockedError
from mova.utils.files import is_below

router = APIRouter(tags=["library"])
LOOK = 0.25
"""Seconds between two looks for changes of jobs."""
HEARTBEAT = 15.0
"""Seconds after which a line is sent that shows that the connection is alive."""
MOST_NAMED = 200
MOST_FOLDERS = 1000
LOCKED = "another program is writing to the index; wait until it has finished"
BUSY = "files are being indexed; wait until that is done, or cancel it"


@router.get("/library")
def library(parts: Parts) -> LibraryOut:
    """Describe the index: model, sizes, folders, files that failed or are missing."""
    status = parts.catalog.status()
    if status is None:
        return LibraryOut(
            model=None,
            videos=0,
            frames=0,
            duration=0,
            bytes=None,
            updated="",
            roots=[],
            folders=[],
            failed=[],
            missing=[],
        )
    entries = list(parts.catalog.entries().values())
    paths = [entry.record.path for entry in entries]
    roots = [
        RootOut(
            id=video_id(root),
            path=printable_name(shown_path(root)),
            videos=sum(is_below(path, [root]) for path in paths),
            present=os.path.exists(root),
        )
        for root in status.roots
    ]
    return LibraryOut(
        model=status.model,
        videos=status.videos,
        frames=status.frames,
        duration=round(status.seconds, 1),
        bytes=status.bytes,
        updated=status.updated,
        roots=roots,
        folders=_indexed_folders(entries),
        failed=[_failed(path, cause) for path, cause in list(status.failed.items())[:MOST_NAMED]],
        missing=[_short(path) for path in status.missing[:MOST_NAMED]],
    )


@router.get("/folders")
def folders(parts: Parts, inside: str | None = None) -> FolderPage:
    """List the folders from which videos may be added, or those inside of one."""
    if inside is None:
        found, videos = parts.folders.roots(), 0
    else:
        found, videos = parts.folders.inside(parts.folders.path(inside))
    return FolderPage(
        folders=[FolderOut(id=folder.id, name=printable_name(folder.name)) for folder in found], videos=videos
    )


@router.get("/jobs")
def jobs(parts: Parts) -> list[JobOut]:
    """List the jobs, the newest first."""
    return [job_out(job) for job in parts.jobs.all()]


@router.post("/jobs", status_code=201)
def add_job(parts: Parts, request: JobRequest) -> JobOut:
    """Add a folder to the index, or look for changes in everything that was added before."""
    if request.folder is not None:
        return job_out(parts.jobs.add("add", parts.folders.path(request.folder)))
    if not parts.catalog.sources():
        raise Problem("the index does not know which folders it was made from; add one")
    return job_out(parts.jobs.add("update"))


@router.get("/jobs/events", response_class=StreamingResponse)
async def events(parts: Parts) -> StreamingResponse:
    """Send all jobs whenever one changes, as server-sent events."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_changes(parts), media_type="text/event-stream", headers=headers)


async def _changes(parts: Services) -> AsyncIterator[str]:
    seen, waited = -1, 0.0
    while not parts.stopping.is_set():
        version = parts.jobs.version
        if version != seen:
            seen, waited = version, 0.0
            document = [job_out(job).model_dump() for job in parts.jobs.all()]
            yield f"data: {json.dumps(document)}\n\n"
        elif waited >= HEARTBEAT:
            waited = 0.0
            yield ": alive\n\n"
        await asyncio.sleep(LOOK)
        waited += LOOK


@router.post("/jobs/{job}/pause")
def pause(parts: Parts, job: str) -> JobOut:
    """Pause a job."""
    return job_out(parts.jobs.pause(job))


@router.post("/jobs/{job}/resume")
def resume(parts: Parts, job: str) -> JobOut:
    """Continue a paused job."""
    return job_out(parts.jobs.resume(job))


@router.post("/jobs/{job}/cancel")
def cancel(parts: Parts, job: str) -> JobOut:
    """Cancel a job; files that it has finished stay in the index."""
    return job_out(parts.jobs.cancel(job))


@router.delete("/jobs/{job}", status_code=204, response_class=Response)
def remove_job(parts: Parts, job: str) -> Response:
    """Remove an ended job from the list."""
    parts.jobs.remove(job)
    return Response(status_code=204)


@router.delete("/videos/{video}")
async def forget_video(parts: Parts, video: str) -> Forgotten:
    """Remove a video from the index. The file itself is not touched."""
    return await _forget(parts, parts.catalog.entry(video).record.path)


@router.delete("/library/{root}")
async def forget_root(parts: Parts, root: str) -> Forgotten:
    """Remove a folder and all its videos from the index. The files themselves are not touched."""
    paths = await run_in_threadpool(parts.catalog.sources)
    path = next((path for path in paths if video_id(path) == root), None)
    if path is None:
        raise NotFound("the index was not made from this folder")
    return await _forget(parts, path)


async def _forget(parts: Services, path: str) -> Forgotten:
    if not await run_in_threadpool(parts.jobs.idle):
        raise Problem(BUSY, 409)

    def remove(index: Index) -> int:
        try:
            return len(index.remove([path]))
        except LockedError as error:
            raise Problem(LOCKED, 409) from error

    return Forgotten(videos=await parts.engine.run(remove, needs="index"))


def job_out(job: Job) -> JobOut:
    """Return a job as the API shows it."""
    failed = [FailedFile(name=printable_name(name), cause=cause) for name, cause in job.failed]
    names = {"name": _short(job.path), "file": printable_name(job.file)}
    return JobOut(**{**job.to_json(), **names, "failed": failed})


def _indexed_folders(entries: list[Entry]) -> list[IndexedFolder]:
    """Return every folder that has videos at or below it, in order of name; names that are not UTF-8 are left out."""
    counts = Counter(
        str(folder)
        for entry in entries
        for folder in (PurePath(entry.folder), *PurePath(entry.folder).parents)
        if folder.parts and printable_name(entry.folder) == entry.folder
    )
    return [IndexedFolder(name=name, videos=counts[name]) for name in sorted(counts)[:MOST_FOLDERS]]


def _failed(path: str, cause: str) -> FailedFile:
    return FailedFile(name=_short(path), cause=cause)


def _short(path: str) -> str:
    return printable_name(shown_path(path))
