"""The library over HTTP: folders by id, jobs with progress, pause, cancel, a restart, forgetting."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from fastapi.testclient import TestClient

from mova.search.index import Index
from mova.serve.app import build
from mova.serve.library.folders import Folders
from mova.serve.library.jobs import KEPT, Jobs
from mova.serve.problems import NotFound, Problem
from mova.serve.settings import Settings
from mova.utils.file_lock import sole_writer
from mova.worlds.writer import write_worlds
from tests.serve.conftest import API, Site
from tests.support.fakes import ColourEncoder, write_colours

MODEL = "mova-worlds-tiny"


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "films"
    write_worlds(folder, 3, 10, "flat", seed=3, size=48, fps=4.0)
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


@contextmanager
def service(tmp_path: Path, offered: Path) -> Iterator[TestClient]:
    settings = Settings(str(tmp_path / "index"), MODEL, folders=(offered,), state=tmp_path / "state")
    with TestClient(build(settings), base_url="http://localhost:8765") as client:
        yield client


def until(check: Callable[[], Any], seconds: float = 400.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def choose(client: TestClient, *names: str) -> str:
    """Walk down the offered folders; return the id of the last one."""
    found = client.get(f"{API}/folders").json()["folders"][0]["id"]
    for name in names:
        inside = client.get(f"{API}/folders", params={"inside": found}).json()
        found = next(folder["id"] for folder in inside["folders"] if folder["name"] == name)
    return str(found)


@pytest.mark.slow
def test_a_folder_is_added_searched_and_forgotten(tmp_path: Path, worlds: Path) -> None:
    with service(tmp_path, worlds.parent) as client:
        assert client.get(f"{API}/library").json()["videos"] == 0
        job = client.post(f"{API}/jobs", json={"folder": choose(client, "films")}).json()
        assert job["state"] in {"queued", "running"}
        again = client.post(f"{API}/jobs", json={"folder": choose(client, "films")}).json()
        assert again["id"] == job["id"]  # the same folder is not read twice at once

        def ended() -> Any:
            (now,) = client.get(f"{API}/jobs").json()["jobs"]
            return now if now["state"] not in {"queued", "running"} else None

        done = until(ended)
        assert (done["state"], done["counts"]["indexed"], done["counts"]["failed"]) == ("done", 3, 1), done
        assert [row["name"] for row in done["failed"]] == ["broken.mp4"]
        library = client.get(f"{API}/library").json()
        assert library["videos"] == 3
        assert library["model"] == MODEL
        (root,) = client.get(f"{API}/library/roots").json()["roots"]
        assert (library["roots"], root["videos"], root["present"]) == (1, 3, True)
        (problem,) = client.get(f"{API}/library/problems").json()["problems"]
        assert problem["name"].endswith("broken.mp4")
        assert problem["cause"]
        assert library["problems"] == 1
        assert client.post(f"{API}/search", json={"query": "a red ring"}).json()["results"]
        assert client.post(f"{API}/jobs", json={}).json()["kind"] == "update"
        until(lambda: client.get(f"{API}/jobs").json()["jobs"][0]["state"] == "done")

        video = client.get(f"{API}/videos").json()["videos"][0]["id"]
        assert client.delete(f"{API}/videos/{video}").json() == {"videos": 1}
        assert client.get(f"{API}/videos/{video}/file").status_code == 404
        assert client.delete(f"{API}/library/{root['id']}").json() == {"videos": 2}
        assert client.get(f"{API}/videos").json()["total"] == 0
        assert len(list(worlds.glob("*.mp4"))) == 4  # files are never touched
        assert client.delete(f"{API}/jobs/{job['id']}").status_code == 204
        assert client.delete(f"{API}/jobs/{job['id']}").status_code == 404


def ignores(process: int, number: signal.Signals) -> bool:
    (mask,) = re.findall(r"SigIgn:\s*(\w+)", Path(f"/proc/{process}/status").read_text(encoding="ascii"))
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.slow
def test_jobs_fail_if_killed_are_paused_cancelled_and_continue_after_a_restart(tmp_path: Path, worlds: Path) -> None:
    jobs = Jobs(tmp_path / "jobs.json", str(tmp_path / "index"), MODEL)
    jobs.start()
    killed = jobs.add("add", str(worlds))
    process = until(lambda: jobs._process)
    if sys.platform == "linux":  # a stop by systemd reaches all processes; the service parks the job itself
        jobs.pause(killed.id)
        until(lambda: ignores(process.pid, signal.SIGTERM))
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
    process.kill()
    until(lambda: jobs.get(killed.id).state == "failed")
    assert "unexpectedly" in jobs.get(killed.id).message

    first = jobs.add("add", str(worlds))
    until(lambda: jobs.get(first.id).state == "running")
    assert jobs.pause(first.id).state == "paused"
    second = jobs.add("add", str(worlds.parent))
    assert jobs.cancel(second.id).state == "cancelled"
    jobs.close()  # as at a restart, with the job paused
    kept = json.loads((tmp_path / "jobs.json").read_text(encoding="utf-8"))["jobs"]
    states = {killed.id: "failed", first.id: "paused", second.id: "cancelled"}
    assert {row["id"]: row["state"] for row in kept} == states

    again = Jobs(tmp_path / "jobs.json", str(tmp_path / "index"), MODEL)
    again.start()
    assert again.get(first.id).state == "paused"
    again.resume(first.id)
    until(lambda: again.get(first.id).state == "done")
    again.close()
    index = Index(tmp_path / "index")
    assert len(index) == 3
    assert index.verify().problems == ()


@pytest.mark.slow
def test_the_process_ends_when_its_service_is_gone(tmp_path: Path, worlds: Path) -> None:
    code = "import sys; from mova.serve.library.ingest_process import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, str(tmp_path / "index"), MODEL, str(worlds)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == 3


def test_only_listed_folders_below_the_offered_ones_can_be_added(site: Site, tmp_path: Path) -> None:
    for name in ("/", "..", "/etc", "0" * 20, "", "%2e%2e"):
        assert site.client.post(f"{API}/jobs", json={"folder": name}).status_code in {400, 404}
        assert site.client.get(f"{API}/folders", params={"inside": name}).status_code == 404


def test_folders_offer_neither_links_nor_hidden_ones(tmp_path: Path) -> None:
    root = tmp_path / "offered"
    (root / "in" / "deep").mkdir(parents=True)
    (root / ".hidden").mkdir()
    secret = tmp_path / "secret"
    secret.mkdir()
    (root / "link").symlink_to(secret)
    write_colours(root / "in" / "a.mp4", [("red", 1)])
    folders = Folders(lambda: [root, root / "in"])
    (top,), _ = folders.listed()  # one is below the other
    assert top.path == str(root)
    with pytest.raises(NotFound):
        folders.listed(top.id)  # nobody was offered it
    folders.offer([top])
    inside, videos = folders.listed(top.id)
    assert ([folder.name for folder in inside], videos) == (["in"], 0)
    folders.offer(inside)
    deeper, videos = folders.listed(inside[0].id)
    assert ([folder.name for folder in deeper], videos) == (["deep"], 1)
    folders.offer(deeper)
    os.rename(root / "in" / "deep", tmp_path / "deep")
    (root / "in" / "deep").symlink_to(secret)  # put there after it was listed
    with pytest.raises(NotFound):
        folders.path(deeper[0].id)


def test_progress_is_streamed(tmp_path: Path) -> None:
    import asyncio

    from mova.serve.routes.jobs import changes
    from mova.serve.services import Services

    parts = Services(Settings(str(tmp_path / "none"), state=tmp_path / "state"))

    async def read() -> list[str]:
        stream = changes(parts)
        first = await anext(stream)
        parts.jobs.add("add", str(tmp_path))
        second = await anext(stream)
        parts.stopping.set()
        return [first, second, *[line async for line in stream]]

    first, second = asyncio.run(read())
    assert first == "data: []\n\n"
    (job,) = json.loads(second.removeprefix("data: "))
    assert job["state"] == "queued"
    parts.close()


def test_nothing_is_forgotten_while_files_are_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Jobs, "idle", lambda _: False)
    answer = site.client.delete(site.video("a.mp4"))
    assert answer.status_code == 409
    assert "cancel it" in answer.json()["error"]["message"]
    monkeypatch.setattr(Jobs, "idle", lambda _: True)
    assert site.client.delete(site.video("a.mp4")).json() == {"videos": 1}
    assert {row["video"]["name"] for row in site.search("red")["results"]} == {"b.mp4", "c.mp4"}
    assert (site.films / "a.mp4").exists()


def test_nothing_is_forgotten_while_another_program_writes(site: Site) -> None:
    with sole_writer(Path(site.settings.index)):
        answer = site.client.delete(site.video("a.mp4"))
    assert answer.status_code == 409
    assert "another program" in answer.json()["error"]["message"]
    assert site.client.delete(site.video("a.mp4")).json() == {"videos": 1}


def test_a_job_that_is_just_ending_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cancelled while its process starts, and then dismissed at once."""
    jobs = Jobs(tmp_path / "jobs.json", str(tmp_path / "index"), None)
    start = subprocess.Popen
    refused: list[Problem] = []

    def popen(*_: object, **options: Any) -> Any:
        jobs.cancel(first.id)
        for number in range(KEPT + 1):  # newer ones, all of them ended
            jobs.cancel(jobs.add("add", str(number)).id)
        with pytest.raises(Problem, match="just ending") as problem:
            jobs.remove(first.id)
        refused.append(problem.value)
        return start([sys.executable, "-c", ""], **options)

    first = jobs.add("update")
    monkeypatch.setattr(subprocess, "Popen", popen)
    jobs.start()
    until(lambda: refused and jobs._current is None, seconds=30)
    jobs.close()
    assert refused[0].status == 409
    assert jobs.get(first.id).state == "cancelled"
    jobs.remove(first.id)
    with pytest.raises(NotFound):
        jobs.get(first.id)


def test_a_job_is_done_when_its_process_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then it may have the index open; who sees that a job is done may forget a video."""
    rows = dict.fromkeys(("indexed", "unchanged", "moved", "removed", "failed"), ())
    report = json.dumps({"event": "report", **rows})
    code = f"import time; print({report!r}, flush=True); time.sleep(0.5)"
    start = subprocess.Popen
    started: list[subprocess.Popen[str]] = []

    def popen(*_: object, **options: Any) -> Any:
        started.append(start([sys.executable, "-c", code], **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", popen)
    jobs = Jobs(tmp_path / "jobs.json", str(tmp_path / "index"), None)
    jobs.start()
    job = jobs.add("update")
    until(lambda: jobs.get(job.id).state == "done", seconds=60)
    assert started[0].returncode == 0
    jobs.close()


def test_missing_files_and_folders_are_named(site: Site) -> None:
    (site.films / "a.mp4").unlink()
    (problem,) = site.client.get(f"{API}/library/problems").json()["problems"]
    assert (Path(problem["name"]).name, problem["cause"]) == ("a.mp4", "cannot be found at present")
    (root,) = site.client.get(f"{API}/library/roots").json()["roots"]
    assert (root["present"], root["videos"]) == (True, 3)


def every_page(site: Site, path: str, key: str, **values: Any) -> list[Any]:
    """Walk through the pages of a list; each has rows, and all know how many there are."""
    rows, cursor = [], None
    while True:
        answer = site.client.get(f"{API}{path}", params={**values, **({"cursor": cursor} if cursor else {})})
        page = answer.json()
        assert 0 < len(page[key]) <= values["limit"], answer.text
        rows += page[key]
        cursor = page.get("next")
        if cursor is None:
            assert len(rows) == page["total"]
            return rows


def test_every_list_has_pages(site: Site) -> None:
    for number in range(7):
        (site.films / "deep" / f"Sub {number}").mkdir()
        (site.films / f"{number}.mp4").write_bytes(b"no video")
        site.client.app.parts.jobs.cancel(site.client.app.parts.jobs.add("add", str(number)).id)
    more = site.films.parent / "more"
    write_colours(more / "d.mp4", [("white", 1)])
    Index(site.settings.index, ColourEncoder()).add([site.films, more])
    for name in "abc":
        (site.films / ("deep/c.mp4" if name == "c" else f"{name}.mp4")).unlink()
    tops = site.client.get(f"{API}/folders").json()["folders"]
    films = next(row["id"] for row in tops if row["name"] == str(site.films))
    (deep,) = every_page(site, "/folders", "folders", inside=films, limit=3)
    names = [row["name"] for row in every_page(site, "/folders", "folders", inside=deep["id"], limit=3)]
    assert names == [f"Sub {number}" for number in range(7)]
    problems = every_page(site, "/library/problems", "problems", limit=4)
    assert sorted(Path(row["name"]).name for row in problems) == [f"{n}.mp4" for n in (*range(7), *"abc")]
    assert [row["videos"] for row in every_page(site, "/library/roots", "roots", limit=1)] == [3, 1]
    folders = every_page(site, "/library/folders", "folders", limit=1)
    assert {row["name"]: row["videos"] for row in folders} == {"films": 3, "films/deep": 1, "more": 1}
    assert "".join(row["name"][0] for row in every_page(site, "/videos", "videos", limit=3)) == "abcd"
    assert [row["name"] for row in every_page(site, "/jobs", "jobs", limit=3)] == [*"6543210"]


def test_a_page_follows_the_last_row_though_the_list_has_changed(site: Site) -> None:
    first = site.client.get(f"{API}/videos", params={"limit": 1}).json()
    write_colours(site.films / "Before.mp4", [("white", 1)])  # comes before the others
    Index(site.settings.index, ColourEncoder()).add([site.films])
    second = site.client.get(f"{API}/videos", params={"limit": 1, "cursor": first["next"]}).json()
    assert [first["videos"][0]["name"], second["videos"][0]["name"]] == ["a.mp4", "b.mp4"]
    site.client.delete(site.video("b.mp4"))
    third = site.client.get(f"{API}/videos", params={"limit": 1, "cursor": second["next"]}).json()
    assert third["videos"][0]["name"] == "c.mp4"
    assert "next" not in third
    for cursor in ("x", "1-", "-a", "1-G", "9" * 10, "1-" + "a" * 41):
        assert site.client.get(f"{API}/videos", params={"cursor": cursor}).status_code == 400


def test_orders_that_do_not_fit_are_refused(site: Site, tmp_path: Path) -> None:
    for name in ("pause", "resume", "cancel"):
        assert site.client.post(f"{API}/jobs/nothing/{name}").status_code == 404
    jobs = Jobs(tmp_path / "jobs.json", "index", None)  # not started
    job = jobs.add("update")
    jobs.cancel(job.id)
    for order in (jobs.pause, jobs.resume, jobs.cancel):
        with pytest.raises(Exception, match="cancelled"):
            order(job.id)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"jobs": [1]}', b'{"jobs": [{"id": "x"}]}', b"\xff"])
def test_damaged_job_files_do_not_stop_the_service(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "jobs.json").write_bytes(content)
    assert Jobs(tmp_path / "jobs.json", "index", None).all() == []
