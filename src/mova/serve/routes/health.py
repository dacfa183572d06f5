"""Whether the service works."""

from __future__ import annotations

from fastapi import APIRouter

from mova._version import __version__
from mova.errors import MovaError
from mova.serve.schemas import Health
from mova.serve.services import Parts

router = APIRouter(tags=["service"])


@router.get("/health", response_model_exclude_none=True)
def health(parts: Parts) -> Health:
    """Say whether the service works, and with which model."""
    try:
        exists = parts.catalog.exists
        model = parts.catalog.model_name if exists else None
        videos = len(parts.catalog.entries()) if exists else 0
        state, failure = parts.engine.state if exists else "none", parts.engine.failure
    except MovaError as error:
        model, videos, state, failure = None, 0, parts.engine.state, str(error)
    status = "ok" if failure is None else "failed"
    return Health(status=status, version=__version__, model=model, model_state=state, videos=videos, message=failure)
