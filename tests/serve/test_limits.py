"""Rates, scores and uploads: what is taken, what is refused, and what is left of it."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from fastapi.testclient import TestClient
from PIL import Image

from mova.search.index import Index
from mova.search.score import score_embedding
from mova.serve.library.uploads import QUARANTINE, safe_name
from mova.serve.problems import Problem
from mova.serve.rates import REMEMBERED, Rates
from mova.serve.settings import Settings
from tests.serve.conftest import API, Site, other
from tests.support.fakes import ColourEncoder, write_colours

TOKEN = "correct horse battery staple"


def test_a_client_that_asks_too_often_waits_and_others_do_not(site: Site) -> None:
    client = other(site, rate=2.0)
    client.app.rates = Rates(2.0, lambda: 0.0)  # type: ignore[attr-defined]
    answers = [client.get(f"{API}/videos").status_code for _ in range(25)]
    assert answers[:20] == [200] * 20
    refused = client.get(f"{API}/videos")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert "too many requests" in refused.json()["error"]["message"]
    elsewhere = TestClient(client.app, base_url="http://localhost:8765", client=("192.0.2.7", 50000))
    assert elsewhere.get(f"{API}/videos").status_code == 200


def test_tokens_cannot_be_tried_faster_than_the_rate(site: Site) -> None:
    client = other(site, token=TOKEN, rate=1.0)
    client.app.rates = Rates(1.0, lambda: 0.0)  # type: ignore[attr-defined]
    tried = [client.get(f"{API}/health", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(200)]
    assert tried.count(401) == 10
    assert tried[-1] == 429


def test_rates_are_off_on_loopback_on_elsewhere_and_as_was_asked() -> None:
    assert Settings("index").requests_per_second is None
    assert Settings("index", host="0.0.0.0", token=TOKEN).requests_per_second == 10
    assert Settings("index", public_urls=("https://films.example",), token=TOKEN).requests_per_second == 10
    assert Settings("index", rate=3.0).requests_per_second == 3
    assert Settings("index", host="0.0.0.0", token=TOKEN, rate=0).requests_per_second is None


def test_behind_a_proxy_a_client_is_who_the_proxy_says_and_elsewhere_its_own_address(site: Site) -> None:
    proxied = other(site, public_urls=("https://films.example.org",), token=TOKEN, rate=1.0).app
    proxied.rates = Rates(1.0, lambda: 0.0)

    def ask(app: Any, peer: str, forwarded: str) -> int:
        client = TestClient(app, base_url="http://localhost", client=(peer, 1))
        headers = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": forwarded}
        return int(client.get(f"{API}/videos", headers=headers).status_code)

    assert [ask(proxied, "127.0.0.1", "203.0.113.1, 198.51.100.7") for _ in range(11)].count(429) == 1
    assert ask(proxied, "127.0.0.1", "203.0.113.1, 198.51.100.8") == 200
    direct = other(site, host="0.0.0.0", token=TOKEN, rate=1.0).app  # clients could write anything there
    direct.rates = Rates(1.0, lambda: 0.0)
    assert [ask(direct, "192.0.2.9", f"10.0.0.{n}") for n in range(11)].count(429) == 1


def test_buckets_fill_again_and_their_number_is_bounded() -> None:
    now = [0.0]
    rates = Rates(5.0, lambda: now[0])
    assert sum(rates.wait("a") == 0 for _ in range(100)) == 50
    now[0] = 2.0
    assert sum(rates.wait("a") == 0 for _ in range(100)) == 10
    now[0] = 1e6
    assert sum(rates.wait("a") == 0 for _ in range(100)) == 50
    networks = [f"2001:db8:0:{n:x}::{n:x}" for n in range(4)]
    assert len({rates.wait(address) for address in networks}) == 1
    assert sum(rates.wait(f"2001:db8:0:9::{n:x}") == 0 for n in range(100)) == 50
    for number in range(2 * REMEMBERED):
        rates.wait(f"192.0.2.{number}")
    assert len(rates._buckets) == REMEMBERED


def test_scores_are_those_of_the_model(site: Site) -> None:
    texts = ["A red wall. Then a blue one.", "white"]
    name = site.video("a.mp4").rsplit("/", 1)[1]
    answer = site.client.post(f"{API}/score", json={"video": name, "texts": texts})
    assert answer.status_code == 200, answer.text
    index = Index(site.settings.index, ColourEncoder())
    stored = index.stored(site.films / "a.mp4")
    assert stored is not None
    for text, row in zip(texts, answer.json()["scores"], strict=True):
        sentences, total = score_embedding(index.model, stored, text)
        assert row["text"] == text
        assert row["score"] == pytest.approx(total, abs=1e-5)
        assert [part["score"] for part in row["sentences"]] == pytest.approx([s.score for s in sentences], abs=1e-5)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"video": "0" * 20, "texts": ["red"]}, 404),
        ({"video": "../../etc/passwd", "texts": ["red"]}, 400),
        ({"video": None, "texts": []}, 400),
        ({"video": None, "texts": ["red"] * 33}, 400),
        ({"video": None, "texts": ["..."]}, 400),
        ({"video": None, "texts": ["A red wall. " * 401]}, 400),
    ],
)
def test_scores_that_cannot_be_computed_are_refused(site: Site, body: dict[str, Any], status: int) -> None:
    name = site.video("a.mp4").rsplit("/", 1)[1]
    answer = site.client.post(f"{API}/score", json={**body, "video": body["video"] or name})
    assert answer.status_code == status, answer.text


def test_uploads_are_off_by_default(site: Site) -> None:
    answer = site.client.post(f"{API}/uploads?name=a.mp4", content=(site.films / "a.mp4").read_bytes())
    assert answer.status_code == 403
    assert "--uploads" in answer.json()["error"]["message"]


@pytest.fixture
def taking(site: Site, tmp_path: Path) -> Any:
    with other(site, uploads=tmp_path / "sent", upload_bytes=1 << 20, state=tmp_path / "state2") as client:
        client.app.parts.jobs.close()  # jobs are kept, but do not run
        yield client


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_video_that_was_sent_is_checked_kept_and_a_job(taking: Any, tmp_path: Path) -> None:
    write_colours(tmp_path / "new.mp4", [("red", 2)])
    content = (tmp_path / "new.mp4").read_bytes()
    for expected in ("new.mp4", "new (2).mp4"):
        answer = taking.post(f"{API}/uploads?name=../..%2Fnew.mp4", content=content)
        assert answer.status_code == 201, answer.text
        assert answer.json()["kind"] == "add"
        assert (tmp_path / "sent" / expected).read_bytes() == content
    assert files(tmp_path / "sent") == ["new (2).mp4", "new.mp4"]


def picture(kind: str) -> bytes:
    content = BytesIO()
    Image.new("RGB", (32, 16), "red").save(content, kind)
    return content.getvalue()


def test_what_is_no_video_is_not_kept(taking: Any, tmp_path: Path) -> None:
    write_colours(tmp_path / "new.mp4", [("red", 2)])
    good = (tmp_path / "new.mp4").read_bytes()
    for name, content, status in (
        ("a.mp4", b"", 415),
        ("a.mp4", b"<html>hello</html>", 415),
        ("a.mp4", os.urandom(4096), 415),
        ("a.mp4", good[: len(good) // 3], 415),
        ("a.mp4", picture("png"), 415),
        ("a.mp4", picture("jpeg"), 415),
        ("a.exe", good, 415),
        ("a", good, 415),
        ("a.mp4", b" " * ((1 << 20) + 1), 413),
    ):
        answer = taking.post(f"{API}/uploads", params={"name": name}, content=content)
        assert answer.status_code == status, (name, len(content), answer.text)
        assert str(tmp_path) not in answer.text
    pieces = (b"x" for _ in range(10))
    assert taking.post(f"{API}/uploads?name=a.mp4", content=pieces).status_code == 411
    wrong = taking.post(f"{API}/uploads?name=a.mp4", content=iter([good]), headers={"Content-Length": "10"})
    assert wrong.status_code == 400
    assert files(tmp_path / "sent") == []
    assert taking.get(f"{API}/jobs").json()["jobs"] == []


def test_uploads_of_other_sites_are_refused(taking: Any, tmp_path: Path) -> None:
    answer = taking.post(f"{API}/uploads?name=a.mp4", content=b"x", headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


def test_a_disk_without_room_takes_nothing(taking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mova.serve.library import uploads

    monkeypatch.setattr(uploads, "RESERVE", 1 << 60)
    assert taking.post(f"{API}/uploads?name=a.mp4", content=b"x").status_code == 507


def test_what_a_killed_service_left_unchecked_is_removed(site: Site, tmp_path: Path) -> None:
    left = tmp_path / "sent" / QUARANTINE / "0123"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a film")
    with other(site, uploads=tmp_path / "sent", state=tmp_path / "state2"):
        assert not left.exists()


def test_names_are_those_of_videos_in_one_folder() -> None:
    for name, expected in (
        ("/etc/x.mp4", "x.mp4"),
        ("C:\\films\\x.mkv", "x.mkv"),
        (".mp4", "video.mp4"),
        ("-rf \u202e.webm", "-rf .webm"),
    ):
        assert safe_name(name) == expected
    assert len(safe_name("é" * 300 + ".mp4").encode()) <= 204
    for name in ("", "..", "/", "x.mp4/..", "x.mp4.txt", "mp4"):
        with pytest.raises(Problem, match="does not end as videos do"):
            safe_name(name)
