"""Whether the service works."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse

from mova._version import __version__
from mova.errors import MovaError
from mova.serve.metrics import gauge
from mova.serve.schemas.service import Health
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


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(parts: Parts, request: Request) -> PlainTextResponse:
    """Return counters in the text format of Prometheus."""
    waiting = [job for job in parts.jobs.all() if job.state in {"queued", "running", "paused"}]
    lines = [
        *request.app.state.meter.lines(),
        *gauge("mova_model_calls_total", "Calls that used the model or the index.", parts.engine.calls, "counter"),
        *gauge("mova_batches_total", "Batches of searches that waited together.", parts.engine.batches, "counter"),
        *gauge("mova_model_seconds_total", "Seconds of these calls.", parts.engine.seconds, "counter"),
        *gauge("mova_model_waiting", "Calls that run or wait.", parts.engine.waiting),
        *gauge("mova_model_loaded", "Whether the model is loaded.", parts.engine.loaded),
        *gauge("mova_videos", "Indexed videos.", len(parts.catalog.entries()) if parts.catalog.exists else 0),
        *gauge("mova_cache_bytes", "Size of thumbnails and previews.", parts.cache.size),
        *gauge("mova_jobs_open", "Jobs that run, wait or are paused.", len(waiting)),
    ]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")
