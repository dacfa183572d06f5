"""Random requests to every route of the API's own description: no defects, and answers as described.

Hypothesis makes the requests from the description, of valid and of invalid values, the same in every run.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("schemathesis", reason="schemathesis, of the extra `dev`, is not installed")

import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from schemathesis.checks import (
    content_type_conformance,
    load_all_checks,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from mova.search.index import Index
from mova.serve.library.jobs import Jobs
from mova.serve.settings import Settings
from tests.serve.conftest import API, JudgingEncoder, running, write_films

EXAMPLES = int(os.environ.get("MOVA_FUZZ_EXAMPLES", "25"))
"""Requests to each route; `make soak` asks for more."""
SLOW_EXAMPLES = EXAMPLES // 5
"""For routes that start a process per request."""
SLOW = ("/clip", "/preview", "/exports", "/uploads", "/export", "/thumbnail")
ENDLESS = f"{API}/jobs/events"
REFUSED = {503, 507}
"""Answers of a service that is busy or full: no defects."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that is searched and asked to do things; its jobs are queued, but end at once."""
    folder = tmp_path_factory.mktemp("fuzz")
    write_films(folder / "films")
    Index(folder / "index", JudgingEncoder()).add([folder / "films"])
    known = Settings(str(folder / "index"), state=folder / "state", uploads=folder / "sent", folders=(folder,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Jobs, "_run", lambda *_: None)
        with running(known, JudgingEncoder()) as address:
            yield address
    assert [path.name for path in (folder / "sent").iterdir()] == [".quarantine"]
    assert len(list((folder / "films").rglob("*.mp4"))) == 3


def document(url: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url.rstrip('/')}{API}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def real(url: str) -> dict[str, str]:
    """Ids that exist, by the name of their parameter."""
    video = document(url, "/videos")["videos"][0]["id"]
    alignment = document(url, f"/videos/{video}/align", {"text": "A red wall. Then a blue one."})["id"]
    folder = document(url, "/folders")["folders"][0]["id"]
    return {"video": video, "alignment": alignment, "inside": folder, "like": video}


@pytest.mark.slow
def test_random_requests_are_answered_as_described(url: str, real: dict[str, str]) -> None:
    load_all_checks()
    schema = schemathesis.openapi.from_url(f"{url}api/v1/openapi.json")
    tried: dict[str, int] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        name = f"{operation.method.upper()} {operation.path}"
        if operation.path != ENDLESS:
            tried[name] = _try(operation, real)
    print(f"{sum(tried.values()):,} requests to {len(tried)} routes")
    assert len(tried) >= 30
    assert min(tried.values()) >= 2, tried
    assert document(url, "/health")["status"] == "ok"
    assert document(url, "/search?q=red")["results"]


def _try(operation: Any, real: dict[str, str]) -> int:
    """Send requests to one route; return their number."""
    count = 0
    examples = SLOW_EXAMPLES if operation.path.endswith(SLOW) else EXAMPLES

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=_cases(operation), exists=st.booleans())
    def check(case: Any, exists: bool) -> None:
        nonlocal count
        count += 1
        if exists and operation.method.upper() != "DELETE":
            for values in (case.path_parameters, case.query):
                for key in real.keys() & (values or {}).keys():
                    values[key] = real[key]
            if isinstance(case.body, dict) and "video" in case.body:
                case.body["video"] = real["video"]
        response = case.call(timeout=60)
        if response.status_code not in REFUSED:
            case.validate_response(
                response,
                checks=[
                    not_a_server_error,
                    status_code_conformance,
                    response_schema_conformance,
                    content_type_conformance,
                ],
            )

    check()
    return count


def _cases(operation: Any) -> Any:
    """Return valid and invalid requests; of routes without parameters, there are no invalid ones."""
    valid = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
    if not operation.body and not list(operation.query) and not list(operation.path_parameters):
        return valid
    return st.one_of(valid, operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
