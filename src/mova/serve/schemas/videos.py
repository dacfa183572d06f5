"""Documents of the indexed videos."""

from __future__ import annotations

from pydantic import BaseModel, Field

from mova.serve.schemas.fields import Cursor, VideoId


class Video(BaseModel):
    """An indexed video."""

    id: VideoId = Field(examples=["3f0c9a7be12d4f5560aa"])
    name: str = Field(examples=["beach.mp4"])
    folder: str = Field(description="Folder, from the folder that holds all videos.", examples=["2024/summer"])
    duration: float = Field(description="Seconds.", examples=[93.4])
    version: str = Field(description="Changes with the content of the file.", examples=["5d2b0c1e77aa"])


class VideoPage(BaseModel):
    """One page of the indexed videos, in order of path."""

    videos: list[Video]
    total: int
    duration: float = Field(description="Seconds of all videos together.")
    next: Cursor | None = None
