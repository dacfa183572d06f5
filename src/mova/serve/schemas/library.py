"""Documents of the library, of folders that may be added, and of jobs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from mova.serve.schemas.fields import Cursor, Request, VideoId


class LibraryOut(BaseModel):
    """What is indexed, in numbers."""

    model: str | None
    videos: int
    frames: int
    duration: float = Field(description="Seconds.")
    bytes: int | None = Field(description="Size of the index on disk.")
    updated: str = Field(description="End of the last run, ISO 8601; empty if not known.")
    roots: int = Field(description="Files and folders that the index was made from, see `/library/roots`.")
    problems: int = Field(description="Files that could not be read or are missing, see `/library/problems`.")


class RootOut(BaseModel):
    """A file or folder that the index was made from."""

    id: str
    path: str
    videos: int = Field(description="Indexed videos at or below it.")
    present: bool


class RootPage(BaseModel):
    """One page of the files and folders that the index was made from, in their order."""

    roots: list[RootOut]
    total: int
    next: Cursor | None = None


class IndexedFolder(BaseModel):
    """A folder with indexed videos, as `filter` of a search names it."""

    name: str = Field(examples=["2024/summer"])
    videos: int = Field(description="Indexed videos at or below it.")


class IndexedFolderPage(BaseModel):
    """One page of the folders below the one that holds all videos, in order of name."""

    folders: list[IndexedFolder]
    total: int
    next: Cursor | None = None


class FailedFile(BaseModel):
    """A file that could not be read, or does not exist at present."""

    name: str
    cause: str


class ProblemPage(BaseModel):
    """One page of the files with a problem: first those that could not be read, then those that are missing."""

    problems: list[FailedFile]
    total: int
    next: Cursor | None = None


class Forgotten(BaseModel):
    """What was removed from the index; files are never touched."""

    videos: int


class FolderOut(BaseModel):
    """A folder that may be added."""

    id: str
    name: str


class FolderPage(BaseModel):
    """One page of the folders at the top, or inside of another, in order of name."""

    folders: list[FolderOut]
    total: int
    videos: int = Field(description="Videos directly in the folder.")
    next: Cursor | None = None


class JobRequest(Request):
    """A folder to add, or, without one, an update of everything that the index was made from."""

    folder: VideoId | None = Field(None, description="Id from `/folders`.")


class JobOut(BaseModel):
    """A job and where it stands."""

    id: str
    kind: Literal["add", "update"]
    name: str = Field(description="The folder.")
    state: Literal["queued", "running", "paused", "done", "failed", "cancelled"]
    created: float = Field(description="Seconds since 1970.")
    ended: float
    file: str = Field(description="The present file.")
    done: float = Field(description="Seconds of video.")
    total: float = Field(description="Seconds of video.")
    counts: dict[str, int] = Field(description="Files by outcome, at the end.")
    failed: list[FailedFile] = Field(description="The first files that could not be read; `counts` has their number.")
    message: str


class JobPage(BaseModel):
    """One page of the jobs, the newest first."""

    jobs: list[JobOut]
    total: int
    next: Cursor | None = None
