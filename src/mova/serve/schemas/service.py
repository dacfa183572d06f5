"""Documents of the service itself."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Health(BaseModel):
    """Whether the service works."""

    status: str = Field(examples=["ok"])
    version: str
    model: str | None = Field(description="Model of the index; null if there is no index yet.")
    model_state: str = Field(examples=["ready"])
    videos: int
    message: str | None = Field(None, description="What is wrong, if anything.")


class ErrorBody(BaseModel):
    """An error."""

    status: int
    message: str
    details: list[dict[str, Any]] | None = None


class ErrorAnswer(BaseModel):
    """The document of every answer with a status from 400 on."""

    error: ErrorBody
