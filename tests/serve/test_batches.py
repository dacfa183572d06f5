"""Searches that wait while the model is busy are taken together: same answers, and each fails alone."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from mova.errors import UsageError
from mova.search.index import Index
from mova.serve import engine as engine_module
from mova.serve.engine import Engine
from mova.serve.held import HeldIndex
from mova.serve.problems import Busy
from mova.types import Moment
from mova.worlds.writer import write_worlds
from tests.serve.conftest import API, Site
from tests.support.fakes import ColourEncoder

TEXTS = ["red", "a blue wall", "green, then", "yellow", "white and red", "red. Then blue."]


def together(engine: Engine, calls: list[tuple[str, Any]]) -> list[Any]:
    """Make calls while the thread is busy; return results or exceptions."""

    async def main() -> list[Any]:
        running, proceed = threading.Event(), threading.Event()

        def hold(_: Index) -> None:
            running.set()
            proceed.wait(30)

        first = asyncio.create_task(engine.run(hold, needs="index"))
        await asyncio.to_thread(running.wait, 30)
        tasks = [asyncio.create_task(engine.search(text, work)) for text, work in calls]
        await asyncio.sleep(0)
        proceed.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(main())


def exact(moments: list[Moment]) -> list[tuple[Any, ...]]:
    return [(m.video, m.start, m.end, m.score, m.false_alarm) for m in moments]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with a snapshot and an exported text tower."""
    folder = tmp_path_factory.mktemp("worlds")
    write_worlds(folder / "films", 3, 12, "flat", seed=5, size=48, fps=4.0)
    Index(folder / "index", "mova-worlds-tiny").add([folder / "films"])
    return folder / "index"


def test_searches_that_wait_are_one_batch_with_the_answers_of_one_by_one(site: Site) -> None:
    engine = Engine(site.settings.index, ColourEncoder())
    alone = Index(site.settings.index, ColourEncoder())
    found = together(engine, [(text, lambda index, text=text: index.search(text)) for text in TEXTS])
    assert engine.batches == 1
    assert [exact(moments) for moments in found] == [exact(alone.search(text)) for text in TEXTS]
    engine.close()


def test_texts_of_a_batch_are_encoded_together_without_the_model(worlds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exported tower encodes them; the model is not loaded."""
    from mova.models import registry
    from mova.search.cold.text_tower import TextTower

    monkeypatch.setattr(registry, "load", lambda *_: pytest.fail("the model was loaded"))
    encoded: list[int] = []
    real = TextTower.text_vectors
    monkeypatch.setattr(
        TextTower, "text_vectors", lambda self, texts: (encoded.append(len(texts)), real(self, texts))[1]
    )
    engine = Engine(str(worlds))
    texts = ["A red star moves left.", "A blue ring grows.", "Two discs.", "A green square turns."]
    found = together(engine, [(text, lambda index, text=text: index.search(text)) for text in texts])
    assert encoded == [len(texts)]
    assert engine.state == "ready"
    engine.close()
    monkeypatch.undo()
    for text, moments in zip(texts, found, strict=True):
        expected = Index(worlds).search(text)
        assert [m[:3] for m in exact(moments)] == [m[:3] for m in exact(expected)]
        assert [m.score for m in moments] == pytest.approx([m.score for m in expected], abs=2e-6)


def test_what_moments_can_have_in_common_is_known_without_the_model(
    worlds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mova.models import registry
    from mova.search.cold.text_tower import TextTower

    expected = registry.load("mova-worlds-tiny").respects()
    with monkeypatch.context() as patch:
        patch.setattr(registry, "load", lambda *_: pytest.fail("the model was loaded"))
        assert HeldIndex(worlds).respects() == expected
    index = HeldIndex(worlds)
    tower = index.encoder("a")
    assert isinstance(tower, TextTower)
    del tower.document["respects"]  # as in an index of an earlier version
    assert index.respects() == expected


def test_a_search_that_fails_does_not_fail_its_neighbors(site: Site) -> None:
    engine = Engine(site.settings.index, ColourEncoder())

    def fail(_: Index) -> None:
        raise UsageError("this one only")

    found = together(engine, [("red", lambda i: i.search("red")), ("!", fail), ("blue", lambda i: i.search("blue"))])
    assert isinstance(found[1], UsageError)
    assert found[0]
    assert found[2]
    engine.close()


def test_a_text_that_cannot_be_encoded_fails_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ColourEncoder.encode_text

    def encode(self: ColourEncoder, texts: Any) -> Any:
        if "poison" in texts or any("poison" in text for text in texts):
            raise ZeroDivisionError
        return real(self, texts)

    monkeypatch.setattr(ColourEncoder, "encode_text", encode)
    engine = Engine(site.settings.index, ColourEncoder())
    found = together(engine, [(text, lambda i, text=text: i.search(text)) for text in ("red", "poison", "blue")])
    assert isinstance(found[1], ZeroDivisionError)
    assert [bool(found[0]), bool(found[2])] == [True, True]
    engine.close()


def test_searches_whose_clients_are_gone_are_not_made(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "none"), ColourEncoder())
    made: list[int] = []

    async def main() -> None:
        running, proceed = threading.Event(), threading.Event()
        first = asyncio.create_task(engine.run(lambda _: (running.set(), proceed.wait(30)), needs="index"))
        await asyncio.to_thread(running.wait, 30)
        tasks = [asyncio.create_task(engine.search("", lambda _, n=n: made.append(n))) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        proceed.set()
        await asyncio.gather(first, tasks[0], tasks[2])

    asyncio.run(main())
    assert made == [0, 2]
    assert engine.waiting == 0
    engine.close()


def test_the_line_is_bounded_and_a_long_wait_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "WAITING", 3)
    monkeypatch.setattr(engine_module, "ANSWER_SECONDS", 0.05)
    engine = Engine(str(tmp_path / "none"), ColourEncoder())

    async def main() -> list[Any]:
        running, proceed = threading.Event(), threading.Event()
        future = engine.submit(lambda _: (running.set(), proceed.wait(30)), needs="index")
        await asyncio.to_thread(running.wait, 30)
        tasks = [asyncio.create_task(engine.search("", lambda _: 1)) for _ in range(3)]
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        proceed.set()
        await asyncio.wrap_future(future)
        return ended

    ended = asyncio.run(main())
    assert [type(error) for error in ended] == [Busy, Busy, Busy]
    assert "wait for the model" in str(ended[2])
    assert "too long" in str(ended[0])
    engine.close()


def test_a_client_that_closes_the_connection_is_noticed(site: Site) -> None:
    from fastapi import Request

    from mova.serve.problems import Problem
    from mova.serve.routes.leaving import unless_gone

    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def receive() -> dict[str, str]:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    with pytest.raises(Problem, match="the client is gone"):
        asyncio.run(unless_gone(Request({"type": "http"}, receive), work()))
    assert ended == ["cancelled"]


def test_a_batch_looks_for_changes_once_and_the_next_one_again(site: Site, tmp_path: Path) -> None:
    index = HeldIndex(site.settings.index, ColourEncoder())
    with index.held():
        before = len(index.videos())
        Index(site.settings.index, ColourEncoder()).remove([site.films / "a.mp4"])
        assert len(index.videos()) == before
    assert len(index.videos()) == before - 1


def test_many_clients_get_the_answers_of_one(site: Site) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def ask(text: str) -> Any:
        document = site.client.post(f"{API}/search", json={"query": text}).json()
        return [(row["video"]["name"], row["start"], row["score"]) for row in document["results"]]

    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(ask, [f"{text} {n}" for n in range(4) for text in TEXTS]))
    assert many == [ask(f"{text} {n}") for n in range(4) for text in TEXTS]
