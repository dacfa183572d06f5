"""Videos in object storage, on an S3-compatible server on this machine: the rows and answers of local files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mova.errors import MovaError, UsageError
from mova.remote import systems
from mova.search.export import export_clips
from mova.search.index import Index
from mova.search.like.example import Example
from mova.search.narrow.filter import Filter
from mova.search.watch import watch
from mova.video.isolated import Isolated
from mova.video.probe import probe
from tests.support.fakes import ColourEncoder, write_colours
from tests.support.object_storage import serving

FILMS = {"a.mp4": [("red", 3.0), ("green", 2.0)], "b c%2.mp4": [("blue", 2.0), ("red", 2.0)]}


class Bucket:
    """An empty bucket, and what tests put there."""

    def __init__(self, system: Any) -> None:
        self.system = system

    def put(self, key: str, data: bytes) -> str:
        with self.system.open_output_stream(f"films/{key}") as file:
            file.write(data)
        return f"s3://films/{key}"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with serving("films") as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        systems._system.cache_clear()
        yield Bucket(systems._s3("films"))
        systems._system.cache_clear()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, parts in FILMS.items():
        write_colours(folder / name, parts)
    return folder


@pytest.fixture(scope="module")
def folder(bucket: Bucket, films: Path) -> str:
    """A folder of objects: the films, one that is broken, one that is empty, and a file that is none."""
    for path in films.iterdir():
        bucket.put(f"all/{path.name}", path.read_bytes())
    bucket.put("all/broken.mp4", b"no film" * 100)
    bucket.put("all/notes.txt", b"text")
    return "s3://films/all"


def rows(index: Index) -> dict[str, tuple[Any, ...]]:
    """Name -> frames, gaps, times and vectors; contents have keys of another kind."""
    found = {}
    for record in index.videos():
        frames = index._store.fetch([record.content])[record.content]
        found[Path(record.path).name] = record.frames, record.gaps, frames.times.tolist(), frames.vectors.tolist()
    return found


def test_rows_and_answers_are_those_of_local_files_and_name_the_uri(folder: str, films: Path, tmp_path: Path) -> None:
    remote, local = (Index(tmp_path / name, ColourEncoder()) for name in ("remote", "local"))
    report = remote.add(folder)
    assert local.add(films).frames == report.frames
    assert [path for path, _ in report.failed] == [f"{folder}/broken.mp4"]
    assert report.passed_over == {".txt": 1}
    assert rows(remote) == rows(local)
    ours, theirs = (index.search("It is blue. It is red.", k=3) for index in (remote, local))
    assert [m.video for m in ours] == [f"{folder}/{Path(m.video).name}" for m in theirs]
    assert [(m.start, m.end) for m in ours] == [(m.start, m.end) for m in theirs]
    again = remote.add(folder)
    assert (again.indexed, sorted(again.unchanged)) == ([], sorted(report.indexed))
    with Isolated() as decoder:
        clips, failures = export_clips(ours[:1], tmp_path / "clips", decoder=decoder)
    assert not failures
    assert probe(clips[0]).duration == pytest.approx(ours[0].end - ours[0].start, abs=0.2)
    found = remote.search("red", filter=Filter(folders=folder, one_per_video=True))
    assert {m.video for m in found} == set(report.indexed)
    assert {m.video for m in remote.search("red", filter=Filter(folders="a.mp4"))} == {f"{folder}/a.mp4"}
    assert remote.stored(f"{folder}/a.mp4") is not None
    alike = remote.search_like(Example.parse(f"{folder}/a.mp4@1"), k=1)
    assert alike[0].video == f"{folder}/b c%2.mp4"


def test_the_service_finds_moments_like_one_of_an_object(folder: str, tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    from mova.serve.app import build
    from mova.serve.library.catalog import video_id
    from mova.serve.settings import Settings

    Index(tmp_path / "index", ColourEncoder()).add(folder)
    settings = Settings(str(tmp_path / "index"), state=tmp_path / "state")
    request: dict[str, Any] = {"like": {"video": video_id(f"{folder}/a.mp4"), "time": 1.0}}
    with TestClient(build(settings, ColourEncoder()), base_url="http://localhost:8765") as client:
        answer = client.post("/api/v1/search", json={"query": "", **request})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        other = f"/api/v1/videos/{found['results'][0]['video']['id']}"
        strip = client.get(f"{other}/relevance", params={"like": request["like"]["video"], "t": 1.0}).json()
    assert found["results"][0]["video"]["name"] == "b c%2.mp4"
    assert max(strip["values"]) == pytest.approx(1.0, abs=0.01)


def test_a_run_reads_new_and_changed_objects_and_drops_those_that_are_gone(
    bucket: Bucket, films: Path, tmp_path: Path
) -> None:
    red, blue = ((films / name).read_bytes() for name in sorted(FILMS))
    uris = [bucket.put(f"some/{name}", red) for name in ("a.mp4", "copy.mp4")]
    gone = bucket.put("some/gone.mp4", blue)
    index = Index(tmp_path / "index", ColourEncoder())
    first = index.add("s3://films/some/")
    assert (first.indexed, first.moved) == ([uris[0], gone], [uris[1]])
    bucket.put("some/a.mp4", blue + b"\0" * 8)
    bucket.system.delete_file("films/some/gone.mp4")
    second = index.update()
    assert (second.indexed, second.removed, second.unchanged) == ([uris[0]], [gone], [uris[1]])
    assert index.remove(uris[0]) == [uris[0]]
    assert [record.path for record in Index(tmp_path / "index").videos()] == [uris[1]]
    assert index.update().indexed == []
    for name in ("a.mp4", "copy.mp4"):
        bucket.system.delete_file(f"films/some/{name}")
    with pytest.raises(UsageError, match="no longer contains any video"):
        Index(tmp_path / "index", ColourEncoder()).add("s3://films/some", all_files=True)
    assert index.status().missing == ()
    with pytest.raises(UsageError, match="no folder on this machine to watch"):
        next(watch(index))


def test_patterns_and_manifests_name_videos(bucket: Bucket, films: Path, folder: str, tmp_path: Path) -> None:
    one = Index(tmp_path / "one", ColourEncoder())
    assert one.add(f"{folder}/*c%2.mp4").indexed == [f"{folder}/b c%2.mp4"]
    with pytest.raises(UsageError, match="no object fits"):
        one.add(f"{folder}/*.mkv")
    manifest = tmp_path / "films.jsonl"
    row = {"duration": None, "split": "test", "captions": []}
    (tmp_path / "b.mp4").write_bytes((films / "a.mp4").read_bytes())
    lines = [{"id": "1", "video": f"{folder}/a.mp4", **row}, {"id": "2", "video": "b.mp4", **row}]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {**lines[0], "id": "3"}]))
    report = Index(tmp_path / "two", ColourEncoder()).add(manifest)
    assert report.indexed == [str(tmp_path / "b.mp4"), f"{folder}/a.mp4"]


def test_the_commands_take_uris(folder: str, tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    place = ("--index", tmp_path / "index")
    code, out, err = call("index", folder, *place, "--model", "mova-worlds-tiny", "--json")
    assert code == 0, err
    assert sorted(json.loads(out)["indexed"]) == [f"{folder}/a.mp4", f"{folder}/b c%2.mp4"]
    code, out, err = call("search", "a red disc", *place, "--json", "--local", "--export", tmp_path / "clips", "-k", 1)
    assert code == 0, err
    assert json.loads(out)["results"][0]["video"].startswith(f"{folder}/")
    assert len(list((tmp_path / "clips").glob("*.mp4"))) == 1
    code, out, _ = call("list", folder, *place, "--json")
    assert [row["missing"] for row in json.loads(out)["videos"]] == [False, False]


def test_storage_that_cannot_be_reached_is_one_message(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index(tmp_path / "index", ColourEncoder())
    with pytest.raises(UsageError, match="s3://films/nothing: no such object or folder"):
        index.add("s3://films/nothing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    systems._system.cache_clear()
    with pytest.raises(MovaError, match=r"s3://films/all: cannot be listed .*AWS_ACCESS_KEY_ID"):
        index.add(folder)
    systems._system.cache_clear()
