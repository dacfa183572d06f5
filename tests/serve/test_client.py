"""`mova.client` against a running service, and the counters that it leaves."""

from __future__ import annotations

import re
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from mova.client import Client, ServiceError
from mova.errors import UsageError
from mova.search.index import Index
from mova.serve.library.jobs import Jobs
from mova.serve.settings import Settings
from mova.video.probe import probe
from tests.serve.conftest import JudgingEncoder, running, write_films

TOKEN = "correct horse battery staple"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    write_films(folder / "films")
    Index(folder / "index", JudgingEncoder()).add([folder / "films"])
    return folder


@pytest.fixture(scope="module")
def url(films: Path) -> Iterator[str]:
    with running(Settings(str(films / "index"), token=TOKEN, state=films / "state"), JudgingEncoder()) as address:
        yield address


@pytest.fixture
def client(url: str) -> Client:
    return Client(url, TOKEN)


def test_search_returns_the_moments_of_the_index(client: Client, films: Path) -> None:
    expected = Index(films / "index", JudgingEncoder()).search("red", k=5)
    found = client.search("red", k=5)
    assert [(m.video.name, m.start, m.end, m.evidence) for m in found] == [
        (Path(m.video).name, round(m.start, 3), round(m.end, 3), m.evidence) for m in expected
    ]
    assert len(client.search("red", k=1)) == 1
    assert len({m.video.id for m in client.search("red", k=50, one_per_video=True)}) == 3
    deep = client.search("red", k=50, filter={"folders": ["deep"], "longer": "0:01"})
    assert {m.video.folder for m in deep} == {"deep"}
    with pytest.raises(ServiceError, match="no video passes the filter"):
        client.search("red", filter={"folders": ["nowhere"]})
    assert client.search("red", k=1, false_alarm=1e-6)[0].evidence == "none"


def test_videos_examples_captions_and_clips(client: Client, tmp_path: Path) -> None:
    assert [video.name for video in client.videos()] == ["a.mp4", "b.mp4", "c.mp4"]
    (film,) = client.videos("deep")
    assert film.folder == "deep"
    first = client.videos()[0]
    assert client.search(like=(first, 3.0), k=1)[0].video == film
    assert client.search(like=(first, 3.0), by="red, blue", k=1)[0].video == film
    (red, blue) = client.align(first, "A red wall. Then a blue one.")
    assert (red.spans[0].start, red.spans[0].end) == (0.0, 2.0)
    assert blue.text == "Then a blue one."
    assert client.thumbnail(first, 1.0).startswith(b"\xff\xd8")
    clip = client.save_clip(client.search("blue", k=1)[0], tmp_path / "clip.mp4")
    assert probe(clip).duration > 1


def test_captions_are_scored_as_by_the_model(client: Client, films: Path) -> None:
    first = client.videos()[0]
    texts = ["A red wall. Then a blue one.", "Yellow."]
    expected = JudgingEncoder().score(films / "films" / "a.mp4", texts)
    scored = client.score(first, texts)
    assert [row.text for row in scored] == texts
    assert [row.score for row in scored] == pytest.approx(expected.tolist(), abs=1e-3)
    assert [text for text, _ in scored[0].sentences] == ["A red wall.", "Then a blue one."]
    assert scored[0].sentences[0][1] > scored[1].sentences[0][1]
    with pytest.raises(ServiceError, match="texts"):
        client.score(first, [])


def test_moments_are_exported(client: Client, tmp_path: Path) -> None:
    found = client.search("red", k=2)
    rows = client.export(found, tmp_path / "moments.csv", "red walls").read_text(encoding="utf-8-sig").splitlines()
    assert len(rows) == 3
    assert all("red walls" in row for row in rows[1:])
    assert len(zipfile.ZipFile(client.export(found, tmp_path / "clips.zip")).namelist()) == 3
    with pytest.raises(ServiceError, match="format"):
        client.export(found, tmp_path / "moments.doc")
    assert not (tmp_path / "moments.doc").exists()


def test_a_video_is_uploaded_and_becomes_a_job(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jobs, "_run", lambda self, job: self._change(job.id, state="done", ended=1.0))
    settings = Settings(str(films / "index"), state=tmp_path / "state", uploads=tmp_path / "sent")
    with running(settings, JudgingEncoder()) as url:
        own = Client(url)
        name = own.upload(films / "films" / "a.mp4")
        deadline = time.monotonic() + 30
        while own.job(name).state != "done" and time.monotonic() < deadline:
            time.sleep(0.02)
        (job,) = own.jobs()
        assert (job.id, job.state, Path(job.name).name) == (name, "done", "a.mp4")
        assert (tmp_path / "sent" / "a.mp4").read_bytes() == (films / "films" / "a.mp4").read_bytes()
        with pytest.raises(ServiceError, match="no such job"):
            own.job("nothing")
        (tmp_path / "text.mp4").write_text("no video", encoding="utf-8")
        with pytest.raises(ServiceError) as refused:
            own.upload(tmp_path / "text.mp4")
        assert refused.value.status == 415
        with pytest.raises(FileNotFoundError):
            own.upload(tmp_path / "nothing.mp4")


def test_refusals_are_errors_with_the_message_of_the_service(client: Client, url: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="token is needed") as refused:
        Client(url, "wrong token of some length").health()
    assert refused.value.status == 401
    with pytest.raises(ServiceError, match="empty"):
        client.search("")
    with pytest.raises(ServiceError, match="cannot be reached"):
        Client("http://127.0.0.1:9").health()
    with pytest.raises(UsageError, match="not an address"):
        Client("file:///etc/passwd")
    assert not list(tmp_path.iterdir())


def test_many_clients_at_once_get_the_same_answer(client: Client) -> None:
    expected = client.search("green", k=5)
    answers = []

    def ask() -> None:
        for _ in range(5):
            answers.append(client.search("green", k=5))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 100
    assert time.monotonic() - began < 60


def test_counters_are_in_the_format_of_prometheus(client: Client) -> None:
    client.health()
    with client._open("GET", "/metrics") as answer:
        text = answer.read().decode()
    line = re.compile(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)+\})? [0-9.e+-]+')
    assert all(line.fullmatch(row) for row in text.splitlines())
    assert re.search(r'mova_requests_total\{route="/health",method="GET",status="200"\} \d+', text)
    assert re.search(r"mova_videos 3\b", text)
    assert re.search(r'mova_request_seconds_bucket\{route="/health",le="\+Inf"\} \d+', text)
