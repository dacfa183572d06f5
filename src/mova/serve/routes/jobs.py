"""Long work as jobs: add a folder, look for changes, progress, pause, cancel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from mova.serve.library.folders import shown_path
from mova.serve.library.jobs import Job
from mova.serve.problems import Problem
from mova.serve.routes.paging import After, Limit, page
from mova.serve.routes.search import printable_name
from mova.serve.schemas.fields import PAGE
from mova.serve.schemas.library import FailedFile, JobOut, JobPage, JobRequest
from mova.serve.services import Parts, Services

router = APIRouter(prefix="/jobs", tags=["library"])
LOOK = 0.25
"""Seconds between two looks for changes of jobs."""
HEARTBEAT = 15.0
"""Seconds after which a line is sent that shows that the connection is alive."""
MOST_NAMED = 200
"""Files that could not be read, by name; all of them are problems of the library."""


@router.get("", response_model_exclude_none=True)
def jobs(parts: Parts, limit: Limit = PAGE, cursor: After = None) -> JobPage:
    """List the jobs, the newest first."""
    every = parts.jobs.all()
    chosen, following = page(every, cursor, limit, lambda job: job.id)
    return JobPage(jobs=[job_out(job) for job in chosen], total=len(every), next=following)


@router.post("", status_code=201)
def add_job(parts: Parts, request: JobRequest) -> JobOut:
    """Add a folder to the index, or look for changes in everything that was added before."""
    if request.folder is not None:
        return job_out(parts.jobs.add("add", parts.folders.path(request.folder)))
    if not parts.catalog.sources():
        raise Problem("the index does not know which folders it was made from; add one")
    return job_out(parts.jobs.add("update"))


@router.get("/events", response_class=StreamingResponse)
async def events(parts: Parts) -> StreamingResponse:
    """Send all jobs whenever one changes, as server-sent events."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(changes(parts), media_type="text/event-stream", headers=headers)


async def changes(parts: Services) -> AsyncIterator[str]:
    """Yield all jobs as events, at first and after each change, until the service stops."""
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


@router.get("/{job}")
def job(parts: Parts, job: str) -> JobOut:
    """Describe a job."""
    return job_out(parts.jobs.get(job))


@router.post("/{job}/pause")
def pause(parts: Parts, job: str) -> JobOut:
    """Pause a job."""
    return job_out(parts.jobs.pause(job))


@router.post("/{job}/resume")
def resume(parts: Parts, job: str) -> JobOut:
    """Continue a paused job."""
    return job_out(parts.jobs.resume(job))


@router.post("/{job}/cancel")
def cancel(parts: Parts, job: str) -> JobOut:
    """Cancel a job; files that it has finished stay in the index."""
    return job_out(parts.jobs.cancel(job))


@router.delete("/{job}", status_code=204, response_class=Response)
def remove_job(parts: Parts, job: str) -> Response:
    """Remove an ended job from the list."""
    parts.jobs.remove(job)
    return Response(status_code=204)


def job_out(job: Job) -> JobOut:
    """Return a job as the API shows it."""
    failed = [FailedFile(name=printable_name(name), cause=cause) for name, cause in job.failed[:MOST_NAMED]]
    names = {"name": printable_name(shown_path(job.path)), "file": printable_name(job.file)}
    return JobOut(**{**job.to_json(), **names, "failed": failed})
