"""Search over HTTP: the same moments as `Index.search`, in pages, one per video; relevance over time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

import numpy as np
import torch
from fastapi.testclient import TestClient

from mova.models.relations.concepts import GENERAL
from mova.search.index import Index
from mova.search.second_stage.reranker import Reranker
from mova.serve.app import build
from mova.serve.finder import binned
from mova.serve.settings import Settings
from tests.serve.conftest import API, JudgingEncoder, Site, other
from tests.support.fakes import ColourEncoder


def test_the_answer_has_the_moments_of_the_index(site: Site) -> None:
    found = site.search("red")
    expected = Index(site.settings.index, ColourEncoder()).search("red", k=24)
    got = [(row["video"]["name"], row["start"], row["end"], row["score"]) for row in found["results"]]
    assert got == [(Path(m.video).name, round(m.start, 3), round(m.end, 3), round(m.score, 6)) for m in expected]
    assert found["videos"] == 3
    assert {row["video"]["name"]: (row["start"], row["end"]) for row in found["results"][:2]} == {
        "a.mp4": (0.0, 2.0),
        "b.mp4": (2.0, 3.0),
    }


def test_no_path_reaches_the_client(site: Site) -> None:
    text = site.client.get(f"{API}/search", params={"q": "red"}).text + site.client.get(f"{API}/videos").text
    assert str(site.films) not in text
    assert "deep" in text  # the folder from the common one


def test_pages_follow_each_other_without_loss_or_repetition(site: Site) -> None:
    whole = site.search("blue", limit=100)["results"]
    pages, cursor = [], None
    while True:
        page = site.search("blue", limit=2, cursor=cursor)
        assert len(page["results"]) <= 2
        pages += page["results"]
        cursor = page.get("next")
        if cursor is None:
            break
    assert pages == whole
    assert len(whole) > 2


def test_one_per_video_keeps_the_best_of_each(site: Site) -> None:
    everything = site.search("blue", limit=100)["results"]
    first = {}
    for row in everything:
        first.setdefault(row["video"]["id"], row)
    assert site.search("blue", limit=100, one_per_video=True)["results"] == list(first.values())


def test_relevance_has_the_cosines_of_the_stored_frames(site: Site) -> None:
    data = site.client.get(f"{site.video('a.mp4')}/relevance", params={"q": "red"}).json()
    index = Index(site.settings.index, ColourEncoder())
    stored = index.stored(site.films / "a.mp4")
    assert stored is not None
    cosines = index.model.relevance(index.model.encode_text("red"), stored)[0].numpy()
    assert np.allclose(data["values"], cosines, atol=1e-3)
    assert np.allclose(data["times"], stored.times, atol=1e-3)
    assert data["low"] < data["high"]
    assert data["high"] == pytest.approx(float(cosines.max()), abs=1e-3)


def test_bins_hold_the_highest_value_and_carry_it_over_stretches_without_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mova.serve.finder.BINS", 3)
    times = np.array([0.0, 0.1, 5.0, 5.5])
    starts, values = binned(times, np.array([0.2, 0.9, 0.4, 0.1], np.float32), 6.0)
    assert starts.tolist() == [0.0, 2.0, 4.0]
    assert values.tolist() == pytest.approx([0.9, 0.9, 0.4])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": "   "},
        {"query": "..."},
        {"query": "red", "limit": 0},
        {"query": "red", "limit": 10_000},
        {"query": "red", "cursor": "../x"},
        {"query": "red", "unknown": 1},
        {"query": ["red"]},
        {"query": "x" * 60_000},
        {"query": "A red film. " * 300},
        [],
        None,
    ],
    ids=lambda body: str(body)[:40],
)
def test_requests_that_are_not_valid_are_refused_with_a_message(site: Site, body: object) -> None:
    answer = site.client.post(f"{API}/search", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert "Traceback" not in answer.text


def test_bodies_that_are_not_json_are_refused(site: Site) -> None:
    for content, kind in ((b"{", "application/json"), (b"\xff\xfe", "application/json"), (b"query=red", "text/plain")):
        answer = site.client.post(f"{API}/search", content=content, headers={"Content-Type": kind})
        assert answer.status_code == 400


@pytest.mark.parametrize("text", ["red", "Red. Then it is blue."])
def test_a_second_model_ranks_as_it_does_for_a_command(site: Site, text: str) -> None:
    second = Reranker(ColourEncoder(rate=8.0, variant="b"), top=3, weight=1.0, seconds=60.0)
    expected = Index(site.settings.index, ColourEncoder()).search(text, k=100, rerank=second)
    client = other(site, second=second)
    answer = client.post(f"{API}/search", json={"query": text, "limit": 2}).json()
    assert [(row["video"]["name"], row["start"], row["rerank"]) for row in answer["results"]] == [
        (Path(m.video).name, round(m.start, 3), m.to_json()["rerank"]) for m in expected[:2]
    ]
    asked = {key: answer["rerank"][key] for key in ("model", "kind", "weight", "source", "asked", "of", "ended_early")}
    assert asked == {key: expected.reranking.to_json()[key] for key in asked}
    assert answer["rerank"]["unreadable"] == 0
    rest = client.get(f"{API}/search", params={"q": text, "cursor": answer["next"]}).json()["results"]
    assert [row["start"] for row in rest] == [round(m.start, 3) for m in expected[2 : 2 + len(rest)]]
    assert ["rerank" in row for row in rest] == [True] + [False] * (len(rest) - 1), "it was asked about three"
    plain = client.get(f"{API}/search", params={"q": text, "rerank": False}).json()
    assert plain["results"] == site.search(text)["results"]
    assert "rerank" not in plain


def test_a_second_model_is_asked_once_for_all_pages(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEW", "FIRST"):
        monkeypatch.setattr(f"mova.serve.finder.{name}", 3)
    client = other(site, second=Reranker(ColourEncoder(rate=8.0, variant="b"), top=3, weight=1.0))
    first = client.get(f"{API}/search", params={"q": "red", "limit": 2}).json()
    following = client.get(f"{API}/search", params={"q": "red", "limit": 2, "cursor": first["next"]}).json()
    assert len(following["results"]) == 2
    assert following["rerank"] == first["rerank"], "also its seconds"


def test_a_second_model_that_cannot_be_asked_is_refused(site: Site) -> None:
    answer = site.client.post(f"{API}/search", json={"query": "red", "rerank": True})
    assert (answer.status_code, "mova serve --rerank" in answer.text) == (400, True)
    client = other(site, second=Reranker("of-no-such-name", weight=0.0))
    like = {"video": site.search("red")["results"][0]["video"]["id"], "time": 0.5}
    answer = client.post(f"{API}/search", json={"like": like, "rerank": True})
    assert (answer.status_code, "about texts" in answer.text) == (400, True)
    assert "rerank" not in client.post(f"{API}/search", json={"like": like}).json()
    untouched = client.post(f"{API}/search", json={"query": "red"}).json()
    assert untouched["rerank"]["asked"] == 0, "with a weight of 0 it is not even loaded"
    assert untouched["results"] == site.search("red")["results"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--rerank-top", "3"], 2, "--rerank-top needs --rerank"),
        (["--rerank", "./nothing"], 1, "no such folder"),
        (["--rerank", "mova-worlds-tiny", "--rerank-frames", "2"], 2, "--rerank-frames"),
        (["--rerank", "mova-worlds-tiny", "--rerank-seconds", "120"], 2, "choose fewer seconds"),
    ],
    ids=["without a model", "no model", "of video LLMs", "longer than a request waits"],
)
def test_a_second_model_that_is_wrong_is_reported_before_the_service_begins(
    site: Site, call: Callable[..., tuple[int, str, str]], words: list[str], status: int, message: str
) -> None:
    code, _, err = call("serve", "--index", site.settings.index, *words)
    assert (code, message in err) == (status, True), err


def test_without_an_index_the_answers_say_what_to_do(tmp_path: Path) -> None:
    settings = Settings(str(tmp_path / "none"), state=tmp_path / "state")
    with TestClient(build(settings, ColourEncoder()), base_url="http://localhost") as client:
        assert client.get(f"{API}/health").json()["model_state"] == "none"
        assert client.get(f"{API}/videos").json()["videos"] == []
        answer = client.post(f"{API}/search", json={"query": "red"})
        assert answer.status_code == 404
        assert "mova index" in answer.json()["error"]["message"]
    assert not (tmp_path / "none").exists()


def test_videos_that_are_indexed_later_are_found(site: Site) -> None:
    from tests.support.fakes import write_colours

    assert site.search("magenta")["videos"] == 3
    write_colours(site.films / "d.mp4", [("magenta", 2)])
    Index(site.settings.index, ColourEncoder()).add([site.films])
    found = site.search("magenta")
    assert found["videos"] == 4
    assert found["results"][0]["video"]["name"] == "d.mp4"


def test_health_names_model_and_videos(site: Site) -> None:
    site.search("red")
    health = site.client.get(f"{API}/health").json()
    assert (health["status"], health["model"], health["model_state"], health["videos"]) == (
        "ok",
        "colours-a",
        "ready",
        3,
    )


def test_defects_answer_without_a_trace(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr("mova.serve.finder.Finder.search", broken)
    client = TestClient(site.client.app, base_url="http://localhost", raise_server_exceptions=False)
    answer = client.post(f"{API}/search", json={"query": "red"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_more_like_a_moment_alone_and_with_words(site: Site) -> None:
    """The blue part of a film finds the blue part of another, and not itself."""
    example = {"video": site.video("a.mp4").rsplit("/", 1)[1], "time": 3.0}
    found = site.search("", like=example)
    assert found["results"][0]["video"]["name"] == "c.mp4"
    assert (found["results"][0]["start"], found["results"][0]["end"]) == (0.0, 2.0)
    index = Index(site.settings.index, ColourEncoder())
    expected = index.search_like(f"{site.films / 'a.mp4'}@3.0", k=24)
    assert [row["score"] for row in found["results"]] == [round(moment.score, 6) for moment in expected]
    joint = site.search("white", like=example, words=0.9)
    assert joint["results"][0]["video"]["name"] == "c.mp4"
    assert joint["results"][0]["start"] >= 2.0
    strip = site.client.get(f"{site.video('deep/c.mp4')}/relevance", params={"like": example["video"], "t": 3.0}).json()
    assert "values" in strip, strip
    assert max(strip["values"][:8]) == pytest.approx(1.0, abs=0.01)
    assert max(strip["values"][8:]) < 0.5
    for wrong in ({"video": "0" * 20, "time": 0}, {"video": example["video"], "time": 99}):
        answer = site.client.post(f"{API}/search", json={"like": wrong})
        assert answer.status_code == 404
    assert site.client.get(f"{site.video('deep/c.mp4')}/relevance").status_code == 400


def test_an_answer_says_whether_anything_here_shows_the_text(site: Site) -> None:
    client = TestClient(build(site.settings, JudgingEncoder()), base_url="http://localhost:8765")
    index = Index(site.settings.index, JudgingEncoder())

    def ask(text: str, **more: object) -> dict[str, Any]:
        document: dict[str, Any] = client.post(f"{API}/search", json={"query": text, **more}).json()
        return document

    for text in ("red", "nothing that has a color"):
        expected, found = index.search(text, k=24), ask(text)
        assert found["evidence"] == expected.evidence
        assert found["false_alarm"] == pytest.approx(expected.false_alarm, abs=1e-6)
        assert [row["evidence"] for row in found["results"]] == [moment.evidence for moment in expected]
    assert ask("red")["evidence"] == "strong"
    assert ask("nothing that has a color")["evidence"] == "none"
    strict = ask("red", false_alarm=1e-6)
    assert (strict["evidence"], strict["false_alarm_bar"]) == ("none", 1e-6)
    assert strict["results"][0]["evidence"] == "none"
    assert client.post(f"{API}/search", json={"query": "red", "false_alarm": 0}).status_code == 400
    assert "evidence" not in site.search("red"), "a model without background sentences has no rates"


def test_the_sentences_of_a_passage_have_their_times(site: Site) -> None:
    found = site.search("A red wall. Then a blue one. At last a green one.")["results"][0]
    assert found["video"]["name"] == "a.mp4"
    index = Index(site.settings.index, ColourEncoder())
    expected = index.search("A red wall. Then a blue one. At last a green one.", k=1)[0]
    times = [(row["text"], row["start"], row["end"]) for row in found["sentences"]]
    assert times == [("A red wall.", 0.0, 2.0), ("Then a blue one.", 2.0, 5.0), ("At last a green one.", 5.0, 6.0)]
    assert found["sentences"] == [row.to_json() for row in expected.sentences]


def test_a_filter_says_which_videos_are_searched(site: Site) -> None:
    deep = [video for video in site.client.get(f"{API}/videos").json()["videos"] if video["folder"] == "deep"]
    answer = site.search("red", limit=100, filter={"folders": ["deep"]})
    found = answer["results"]
    assert answer["videos"] == len(deep)
    assert {row["video"]["id"] for row in found} == {video["id"] for video in deep} != set()
    address = {"q": "red", "limit": 100, "folder": "deep", "longer": "0:01", "after": "2001"}
    assert site.client.get(f"{API}/search", params=address).json()["results"] == found
    everything = site.search("red", limit=100, filter={"longer": 0})["results"]
    assert everything == site.search("red", limit=100)["results"]


def test_moments_have_time_around_them_and_differ_on_request(site: Site) -> None:
    plain = site.search("red", limit=100)["results"]
    padded = site.search("red", limit=100, pad=0.25, min_length=1)["results"]
    durations = {row["video"]["id"]: row["video"]["duration"] for row in plain}
    for before, after in zip(plain, padded, strict=True):
        assert after["start"] <= max(0, before["start"] - 0.24)
        assert after["end"] >= min(durations[after["video"]["id"]], before["end"] + 0.24)
    address = {"q": "red", "limit": 100, "pad": 0.25, "min_length": 1}
    assert site.client.get(f"{API}/search", params=address).json()["results"] == padded
    few = site.search("red", limit=100, dedupe=True)["results"]
    assert len(few) < len(plain)
    assert few[0] == plain[0]


@pytest.mark.parametrize(
    ("narrowed", "message"),
    [
        ({"folders": ["deeper"]}, "no video passes the filter"),
        ({"folders": [".."]}, "no video passes the filter"),
        ({"folders": ["../../etc"]}, "no video passes the filter"),
        ({"longer": "10h"}, "no video passes the filter"),
        ({"after": "soon"}, "after 'soon': is not a date"),
        ({"longer": "long"}, "longer 'long': is not a duration"),
    ],
)
def test_a_filter_that_leaves_no_video_is_an_error_without_paths(
    site: Site, narrowed: dict[str, Any], message: str
) -> None:
    answer = site.client.post(f"{API}/search", json={"query": "red", "filter": narrowed})
    assert answer.status_code in (400, 422)
    assert message in answer.json()["error"]["message"]
    assert str(site.films) not in answer.text


def test_an_example_is_compared_in_one_respect(site: Site) -> None:
    """Values of one respect: red and blue. Green and yellow frames differ from the example in other ways only."""
    example, by = site.video("a.mp4").rsplit("/", 1)[1], "red, blue"
    found = site.search("", like={"video": example, "time": 0.5}, by=by)
    expected = Index(site.settings.index, ColourEncoder()).search_like(f"{site.films / 'a.mp4'}@0.5", k=24, by=by)
    got = [(row["video"]["name"], row["start"], row["score"]) for row in found["results"]]
    assert got == [(Path(m.video).name, round(m.start, 3), round(m.score, 6)) for m in expected]
    params = {"like": example, "t": 0.5, "by": by}
    curve = site.client.get(f"{site.video('deep/c.mp4')}/relevance", params=params).json()
    index = Index(site.settings.index, ColourEncoder())
    records = index.videos()
    center = np.average([r.mean for r in records], axis=0, weights=[r.frames for r in records]).astype(np.float32)
    stored = index.stored(site.films / "deep" / "c.mp4")
    first = index.stored(site.films / "a.mp4")
    assert stored is not None
    assert first is not None
    row = int(np.abs(first.times - 0.5).argmin())
    respect = ColourEncoder().respect(by, torch.from_numpy(center))
    similarity = respect.similarity(first.frames[row : row + 1], stored.frames)[0]
    np.testing.assert_allclose(curve["values"], similarity.numpy(), atol=1e-4)
    assert curve["low"] == 0.0


def test_respects_have_names_and_need_an_example_alone(site: Site) -> None:
    names = site.client.get(f"{API}/search/respects").json()["respects"]
    assert names == sorted(GENERAL)
    like = {"video": site.video("a.mp4").rsplit("/", 1)[1], "time": 0.5}
    wrong: list[dict[str, Any]] = [
        {"query": "red", "like": like, "by": "color"},
        {"query": "red", "by": "color"},
        {"like": like, "by": "of no kind"},
        {"like": like, "by": "  "},
    ]
    for body in wrong:
        assert site.client.post(f"{API}/search", json=body).status_code == 400, body
    address = f"{site.video('a.mp4')}/relevance"
    for params in ({"q": "red", "by": "color"}, {"q": "red", "like": like["video"], "by": "color"}):
        assert site.client.get(address, params=params).status_code == 400
