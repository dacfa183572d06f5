"""What is indexed; folders to add; forgetting."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from mova.remote.objects import uri_of
from mova.search.index import Index
from mova.serve.library.catalog import video_id
from mova.serve.library.folders import shown_path
from mova.serve.problems import NotFound, Problem
from mova.serve.routes.paging import After, Limit, NamesLimit, page
from mova.serve.routes.search import printable_name
from mova.serve.schemas.fields import NAMES_PAGE, PAGE
from mova.serve.schemas.library import (
    FailedFile,
    FolderOut,
    FolderPage,
    Forgotten,
    IndexedFolder,
    IndexedFolderPage,
    LibraryOut,
    ProblemPage,
    RootOut,
    RootPage,
)
from mova.serve.services import Parts, Services
from mova.utils.file_lock import LockedError
from mova.utils.files import is_below

router = APIRouter(tags=["library"])
MISSING = "cannot be found at present"
LOCKED = "another program is writing to the index; wait until it has finished"
BUSY = "files are being indexed; wait until that is done, or cancel it"


@router.get("/library")
def library(parts: Parts) -> LibraryOut:
    """Describe the index: model and sizes."""
    status = parts.catalog.status()
    if status is None:
        return LibraryOut(model=None, videos=0, frames=0, duration=0, bytes=None, updated="", roots=0, problems=0)
    return LibraryOut(
        model=status.model,
        videos=status.videos,
        frames=status.frames,
        duration=round(status.seconds, 1),
        bytes=status.bytes,
        updated=status.updated,
        roots=len(status.roots),
        problems=len(status.failed) + len(status.missing),
    )


@router.get("/library/roots", response_model_exclude_none=True)
def roots(parts: Parts, limit: Limit = PAGE, cursor: After = None) -> RootPage:
    """List the files and folders that the index was made from."""
    sources = parts.catalog.sources()
    chosen, following = page(sources, cursor, limit, video_id)
    paths = [entry.record.path for entry in parts.catalog.entries().values()] if chosen else []
    rows = [
        RootOut(
            id=video_id(root),
            path=_short(root),
            videos=sum(is_below(path, [root]) for path in paths),
            present=uri_of(root) is not None or os.path.exists(root),
        )
        for root in chosen
    ]
    return RootPage(roots=rows, total=len(sources), next=following)


@router.get("/library/folders", response_model_exclude_none=True)
def indexed_folders(parts: Parts, limit: NamesLimit = NAMES_PAGE, cursor: After = None) -> IndexedFolderPage:
    """List every folder that has indexed videos at or below it, as `filter` of a search names it."""
    entries = parts.catalog.entries().values() if parts.catalog.exists else ()
    counts = Counter(
        str(folder)
        for entry in entries
        for folder in (PurePath(entry.folder), *PurePath(entry.folder).parents)
        if folder.parts and printable_name(entry.folder) == entry.folder  # other names cannot be sent back
    )
    chosen, following = page(sorted(counts), cursor, limit, video_id)
    rows = [IndexedFolder(name=name, videos=counts[name]) for name in chosen]
    return IndexedFolderPage(folders=rows, total=len(counts), next=following)


@router.get("/library/problems", response_model_exclude_none=True)
def problems(parts: Parts, limit: Limit = PAGE, cursor: After = None) -> ProblemPage:
    """List the files that could not be read, with the cause, and those that are missing."""
    status = parts.catalog.status()
    rows = [] if status is None else [*status.failed.items(), *((path, MISSING) for path in status.missing)]
    chosen, following = page(rows, cursor, limit, lambda row: video_id("\0".join(row)))
    files = [FailedFile(name=_short(path), cause=cause) for path, cause in chosen]
    return ProblemPage(problems=files, total=len(rows), next=following)


@router.get("/folders", response_model_exclude_none=True)
def folders(
    parts: Parts,
    inside: Annotated[str | None, Query(description="Id of the folder to look into.")] = None,
    limit: NamesLimit = NAMES_PAGE,
    cursor: After = None,
) -> FolderPage:
    """List the folders from which videos may be added, or those inside of one."""
    every, videos = parts.folders.listed(inside)
    chosen, following = page(every, cursor, limit, lambda folder: folder.id)
    parts.folders.offer(chosen)
    rows = [FolderOut(id=folder.id, name=printable_name(folder.name)) for folder in chosen]
    return FolderPage(folders=rows, total=len(every), videos=videos, next=following)


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
        """Remove the path; return the number of videos."""
        try:
            return len(index.remove([path]))
        except LockedError as error:
            raise Problem(LOCKED, 409) from error

    return Forgotten(videos=await parts.engine.run(remove, needs="index"))


def _short(path: str) -> str:
    return printable_name(shown_path(path))
