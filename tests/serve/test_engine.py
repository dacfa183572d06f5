"""The thread of the model, and the processes that do one task: what is left after a cancellation or a failure."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from mova.search.index import Index
from mova.serve.engine import Engine
from mova.serve.files.children import Children
from tests.serve.conftest import API, Site, other
from tests.support.fakes import ColourEncoder

TASK = """
from mova.errors import UsageError, VideoError
from mova.serve.files.children import report_failure

def main(words):
    return report_failure(lambda: run(*words))

def run(kind):
    if kind == "video":
        raise VideoError("film.mp4", "has no pictures")
    if kind == "usage":
        raise UsageError("install the extra")
    if kind == "defect":
        raise ZeroDivisionError("a detail")
"""


def test_a_call_that_is_cancelled_while_it_waits_no_longer_counts(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "index"), ColourEncoder())
    running, proceed = threading.Event(), threading.Event()

    def hold(_: Index) -> None:
        running.set()
        proceed.wait(30)

    async def calls() -> None:
        first = asyncio.create_task(engine.run(hold))
        await asyncio.to_thread(running.wait, 30)
        second = asyncio.create_task(engine.run(lambda _: None))
        await asyncio.sleep(0)
        assert engine.waiting == 2
        second.cancel()
        await asyncio.wait([second])
        assert engine.waiting == 1
        proceed.set()
        await first

    asyncio.run(calls())
    assert engine.waiting == 0
    engine.close()


def test_any_failure_to_load_the_model_is_in_the_health(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Index) -> None:
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr(Index, "model", property(broken))
    with caplog.at_level("ERROR"), other(site) as client:
        client.app.parts.engine.submit(lambda _: None, needs="index").result(30)  # type: ignore[attr-defined]
        health = client.get(f"{API}/health").json()
        assert (health["status"], health["model_state"]) == ("failed", "failed")
        assert "secret" not in health["message"]
        assert client.post(f"{API}/search", json={"query": "red"}).status_code == 500
    assert "a secret detail" in caplog.text
    monkeypatch.undo()
    with other(site) as client:
        assert client.post(f"{API}/search", json={"query": "red"}).status_code == 200
        assert client.get(f"{API}/health").json()["model_state"] == "ready"


@pytest.mark.parametrize(
    ("kind", "status", "cause"),
    [("video", 404, "has no pictures"), ("usage", 500, "install the extra"), ("defect", 500, "the log of the service")],
)
def test_only_a_video_that_cannot_be_decoded_is_not_found(
    kind: str,
    status: int,
    cause: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "failing_task.py").write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)
    failure = Children().run("failing_task", [kind], 60.0)
    assert failure is not None
    assert failure.status == status
    assert cause in failure.cause
    assert "a detail" not in failure.cause
    assert ("ZeroDivisionError: a detail" in capfd.readouterr().err) == (kind == "defect")


def test_a_task_that_is_done_has_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "done_task.py").write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)
    assert Children().run("done_task", ["nothing"], 60.0) is None


def test_the_status_of_a_failure_reaches_the_client(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from mova.serve.files.children import Failure

    for status in (404, 500):
        monkeypatch.setattr(Children, "run", lambda *_, status=status: Failure("it failed", status))
        answer = site.client.get(f"{site.video('a.mp4')}/clip?start=0&end=1")
        assert (answer.status_code, answer.json()["error"]["message"]) == (status, "a.mp4: it failed")
