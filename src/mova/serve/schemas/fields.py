"""Fields that several documents have, and the base of those that clients send."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mova.serve.settings import TEXT_CHARACTERS

PAGE = 24
"""Rows per page, by default."""
LARGEST_PAGE = 100
NAMES_PAGE = 1000
"""Rows per page of a list of names, by default and at most."""
CURSOR = r"^[0-9]{1,9}(-[0-9a-f]{1,40})?$"
"""Of a list: number of rows before the page, and the last of them."""
PLACE = r"^[0-9]{1,6}$"
"""Of the answer to a search: number of moments before the page."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TEXT_CHARACTERS)]
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
VideoId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{20}$")]
Cursor = Annotated[str, StringConstraints(pattern=CURSOR)]


class Request(BaseModel):
    """Base of request bodies: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")
