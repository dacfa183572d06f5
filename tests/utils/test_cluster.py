"""Work on a Ray cluster of two nodes: all of it as in one process, and indexing also when a node is lost.

The last test removes a node, so all others run on two.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mova
from mova.data.expansion.materialize import materialize
from mova.data.feature_store import FeatureStore
from mova.data.manifest import Caption, Row, read_manifest, write_manifest
from mova.data.synthetic import render_requests
from mova.errors import DataError, MovaError, UsageError
from mova.features.extract import write_features
from mova.models.hub import UnreachableError
from mova.models.registry import load_same
from mova.remote import systems
from mova.search.index import Index
from mova.text_to_video.render import render, render_on_cluster
from mova.text_to_video.score_cache import ScoreCache
from mova.text_to_video.weighting import Case, Loader, score_cases
from mova.utils.cluster import HOPELESS, LOST, MOST_ATTEMPTS, Cluster, Counter, map_on_cluster, needs_token
from mova.video.reader import FrameRule, read_count
from mova.worlds.writer import write_worlds
from tests.support.cluster_work import DeadlyEncodeWindow, by_brightness, deadly_squares, failing, squares
from tests.support.object_storage import serving
from tests.support.plain_generator import ROWS, Plain

MODEL = "mova-worlds-tiny"
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # as `connected` does: Ray is imported here before
os.environ.setdefault("RAY_gcs_server_request_timeout_seconds", "300")  # nodes start slowly on a busy machine
os.environ.setdefault("RAY_health_check_period_ms", "1000")  # a lost node is noticed after 5 s, not 15 s


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos, a copy of one of them, and a file that is none."""
    folder = tmp_path_factory.mktemp("films")
    write_worlds(folder, 4, 12, "flat", 78, size=64)
    shutil.copy(min(folder.glob("*.mp4")), folder / "copy.mp4")
    (folder / "broken.mp4").write_bytes(b"no film" * 100)
    return folder


@pytest.fixture(scope="module")
def objects(films: Path) -> Iterator[str]:
    """Two of the videos and the broken file in a bucket under other names; the nodes inherit its variables."""
    with serving("films") as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        systems._system.cache_clear()
        for path in [*sorted(films.glob("world*.mp4"))[:2], films / "broken.mp4"]:
            with systems._s3("films").open_output_stream(f"films/all/object-{path.name}") as file:
                file.write(path.read_bytes())
        yield "s3://films/all"
    systems._system.cache_clear()


@pytest.fixture(scope="module")
def nodes(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Two nodes with one processor each; this process is connected to them. A test removes the second."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    from ray.cluster_utils import Cluster as Nodes

    if find_spec("moto") is not None:
        request.getfixturevalue("objects")
    head = {"num_cpus": 1, "object_store_memory": 200 << 20, "include_dashboard": False, "no_monitor": True}
    nodes = Nodes(initialize_head=True, head_node_args=head)
    nodes.second = nodes.add_node(num_cpus=1, object_store_memory=200 << 20)
    ray.init(nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture(scope="module")
def cluster(nodes: Any) -> Cluster:
    return Cluster(nodes.address, MODEL)


@pytest.fixture(scope="module")
def manifest(worlds_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of three films, one of them twice, and a clip of a file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for row in read_manifest(worlds_manifest)[:3]:
        shutil.copy(worlds_manifest.parent / row.video, folder / Path(row.video).name)
        for number, (start, end) in enumerate([(0.0, 4.0), (2.0, 6.0)]):
            clip = Row(f"{row.id}-{number}", Path(row.video).name, None, "train", (Caption("a"),), start, end)
            rows.append(clip)
    (folder / "broken.mp4").write_bytes(b"no film" * 100)
    rows += [Row("again", rows[0].video, None, "train", (Caption("b"),), 0.0, 4.0)]
    rows += [Row("broken", "broken.mp4", None, "train", (Caption("c"),), 0.0, 1.0)]
    return write_manifest(folder / "manifest.jsonl", rows)


def test_a_cluster_that_is_not_there_is_one_message(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., tuple[int, str, str]]
) -> None:
    pytest.importorskip("ray.data")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # a cluster that was killed leaves its address behind
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", cache(frozenset))  # another cluster may run here
    code, _, err = call("data", "features", manifest, tmp_path / "store", "--model", MODEL, "--ray", "auto")
    assert (code, "--ray auto: no Ray cluster can be reached" in err) == (2, True)
    with pytest.raises(UsageError, match="name or folder"):
        Cluster.of("auto", mova.load(MODEL), MODEL)


def test_a_token_is_shown_to_a_cluster_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not needs_token("one:6379")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    assert needs_token("one:6379")
    assert not needs_token("auto")  # Ray does it itself
    assert not needs_token("local")
    monkeypatch.setenv("RAY_ADDRESS", "one:6379")
    assert needs_token("auto")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "nothing"))
    assert not needs_token("one:6379")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    assert needs_token("one:6379")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert not needs_token("one:6379")


@pytest.mark.slow
def test_a_named_cluster_that_is_not_there_names_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("cannot connect")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(UsageError, match=r"A cluster that asks for a token .* \(cannot connect\)"):
        list(map_on_cluster([1], squares, Cluster("one:6379"), abs, wrong=2))


@pytest.mark.parametrize(
    "words",
    [
        ("expand", "IN", "OUT", "--ops", "integrate:source,min=2"),
        ("weights", "IN", "OUT", "--merge"),
        ("synthesize", "IN", "OUT", "--prompts"),
    ],
    ids=lambda words: words[0],
)
def test_a_cluster_without_work_for_it_is_refused(
    words: tuple[str, ...], manifest: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    paths: dict[str, Any] = {"IN": manifest, "OUT": tmp_path / "out"}
    code, _, err = call("data", *(paths.get(word, word) for word in words), "--ray", "auto")
    assert (code, "--ray" in err) == (2, True), err


@pytest.mark.slow
def test_an_error_of_a_worker_is_ours_and_no_work_needs_no_cluster(cluster: Cluster) -> None:
    with pytest.raises(DataError, match="2 cannot be squared"):
        list(map_on_cluster([1, 2], squares, cluster, abs, wrong=2))
    assert list(map_on_cluster([], squares, Cluster("nowhere"), abs, wrong=2)) == []
    with pytest.raises(MovaError, match=r"worker of the Ray cluster failed \(RuntimeError: a mistake of \d\)"):
        list(map_on_cluster([1, 2], failing, cluster, abs, unexpected="a mistake"))
    with pytest.raises(UnreachableError, match="nowhere/model: neither a local folder"):
        list(map_on_cluster([1, 2], partial(load_same, "nowhere/model"), cluster, abs, fingerprint=""))


def test_a_run_ends_where_workers_die_of_everything() -> None:
    counter = Counter()
    answers = [[counter.begin(unit) for _ in range(MOST_ATTEMPTS + 1)][-1] for unit in range(HOPELESS)]
    assert answers == [*["lost"] * (HOPELESS - 1), "hopeless"]
    counter.begin("another")
    counter.end("another")
    assert [counter.begin(0), counter.begin("another")] == ["lost", "go"]


@pytest.mark.slow
def test_an_item_that_ends_its_worker_each_time_is_given_up_and_the_others_are_done(cluster: Cluster) -> None:
    results = list(map_on_cluster(range(8), deadly_squares, cluster, lambda item: -item, deadly=3))
    assert sorted(results) == [(number, -3 if number == 3 else number**2) for number in range(8)]


@pytest.mark.slow
def test_a_file_that_ends_its_worker_costs_itself(
    films: Path, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("deadly.mp4", "once.mp4", "other.mp4")
    for name, film in zip(names, sorted(films.glob("world*.mp4")), strict=False):
        shutil.copy(film, tmp_path / name)
    monkeypatch.setattr("mova.search.ingest.cluster.EncodeWindow", DeadlyEncodeWindow)
    index = Index(tmp_path / "index", MODEL)
    report = index.add(tmp_path, ray=cluster.address)
    assert report.failed == [(str(tmp_path / "deadly.mp4"), LOST)]
    assert sorted(Path(path).name for path in report.indexed) == ["once.mp4", "other.mp4"]
    assert (tmp_path / "once.died").exists()
    assert index.verify().problems == ()
    monkeypatch.undo()
    assert [Path(path).name for path in index.add(tmp_path, ray=cluster.address).indexed] == ["deadly.mp4"]
    here = Index(tmp_path / "here", MODEL)
    here.add(tmp_path)
    assert_same(index, here)


def same_features(manifest: Path, model: str, where: Cluster, folder: Path) -> FeatureStore:
    """Store features in one process and on a cluster, assert that they are the same, and return the latter."""
    encoder, rule = mova.load(model), FrameRule(fps=2.0)
    reports = [
        write_features(folder / name, encoder, manifest, rule, cluster=cluster)
        for name, cluster in (("here", None), ("there", replace(where, model=model)))
    ]
    assert reports[0].to_json() | {"seconds": 0} == reports[1].to_json() | {"seconds": 0}
    assert list(reports[1].failed) == ["broken.mp4"]
    here, there = (FeatureStore(folder / name) for name in ("here", "there"))
    assert here.records.keys() == there.records.keys()
    for clip, record in here.records.items():
        other = there.records[clip]
        assert (record.content, record.end, record.cause) == (other.content, other.end, other.cause)
        if record.cause is None:
            ours, theirs = here.read(clip), there.read(clip)
            np.testing.assert_array_equal(ours.pts, theirs.pts)
            np.testing.assert_array_equal(here.windows(clip), there.windows(clip))
            np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=2e-3)
    again = write_features(folder / "there", encoder, manifest, rule, cluster=replace(where, model=model))
    assert (again.written, again.unchanged, again.remembered) == (0, 6, 1)
    return there


def test_a_worker_stores_single_frames_as_one_process_does(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_this_process(
        items: Any, make: Any, cluster: Cluster, lost: Any, **arguments: Any
    ) -> Iterator[tuple[int, Any]]:
        worker = make(**arguments)
        for number, item in reversed([*enumerate(items)]):  # in no order
            yield number, pickle.loads(pickle.dumps(worker(pickle.loads(pickle.dumps(item)))))

    monkeypatch.setattr("mova.features.extract.map_on_cluster", in_this_process)
    store = same_features(manifest, MODEL, Cluster("nowhere"), tmp_path)
    assert all(store.windows(clip) is None for clip, record in store.records.items() if record.cause is None)


@pytest.mark.slow
def test_videos_of_rows_are_those_of_one_process(manifest: Path, cluster: Cluster, tmp_path: Path) -> None:
    here = materialize(manifest, tmp_path / "here", short_side=32)
    there = materialize(manifest, tmp_path / "there", short_side=32, cluster=cluster)
    assert (there.rows, there.videos, there.existing) == (here.rows, here.videos, here.existing) == (7, 6, 1)
    assert there.left_out.to_json()["video cannot be read"]["count"] == 1
    assert (tmp_path / "there" / "manifest.jsonl").read_text() == (tmp_path / "here" / "manifest.jsonl").read_text()
    for path in (tmp_path / "here").glob("*.mp4"):
        ours, theirs = (read_count(tmp_path / name / path.name, 5) for name in ("here", "there"))
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    again = materialize(manifest, tmp_path / "there", short_side=32, cluster=cluster)
    assert (again.videos, again.existing) == (0, 7)


@pytest.mark.slow
def test_renderings_are_those_of_one_process(cluster: Cluster, tmp_path: Path) -> None:
    requests = render_requests(ROWS, "all", 2)
    here = render(requests, Plain(), tmp_path / "here", seed=3)
    there, origin = render_on_cluster(requests, Plain, tmp_path / "there", cluster, seed=3)
    assert origin == {"model": "plain", "revision": "plain"}
    assert (there.made, there.kept, sorted(there.failed)) == (here.made, here.kept, sorted(here.failed))
    assert list(there.videos) == list(here.videos)
    for row, videos in here.videos.items():
        for ours, theirs in zip(videos, there.videos[row], strict=True):
            assert ours.to_json() | {"video": Path(ours.video).name} == theirs.to_json() | {
                "video": Path(theirs.video).name
            }
            assert Path(ours.video).read_bytes() == Path(theirs.video).read_bytes()


@pytest.mark.slow
def test_scores_are_those_of_one_process(manifest: Path, cluster: Cluster, tmp_path: Path) -> None:
    videos = sorted(manifest.parent.glob("*.mp4"))
    cases = [Case(number, 0, video, "not so", f"case {number}", None) for number, video in enumerate(videos)]
    calls = tmp_path / "calls"
    calls.mkdir()
    models: dict[str, Loader] = {"one": partial(by_brightness, calls)}
    here = score_cases(cases, models, batch=2)
    with ScoreCache(tmp_path / "scores.sqlite") as cache:
        there = score_cases(cases, models, cache, batch=2, cluster=cluster)
        shutil.rmtree(calls)
        calls.mkdir()
        twice = score_cases(cases, models, cache, batch=2, cluster=cluster)
    np.testing.assert_array_equal(there.scores, here.scores)
    np.testing.assert_array_equal(twice.scores, here.scores)
    assert there.keys == {"one": "brightness"}
    assert [cause is None for cause in twice.broken] == [video.name != "broken.mp4" for video in videos]
    assert list(calls.iterdir()) == []


def ray_nodes() -> list[dict[str, Any]]:
    import ray

    return list(ray.nodes())


def rows(index: Index) -> dict[str, tuple[Any, ...]]:
    found = {}
    for record in index.videos():
        frames = index._store.fetch([record.content])[record.content]
        found[Path(record.path).name] = record.content, record.frames, record.gaps, frames
    return found


def assert_same(index: Index, expected: Index) -> None:
    ours, theirs = rows(index), rows(expected)
    assert ours.keys() == theirs.keys()
    for name, (*record, frames) in ours.items():
        assert record == list(theirs[name][:-1])
        np.testing.assert_array_equal(frames.times, theirs[name][-1].times)
        np.testing.assert_array_equal(frames.windows, theirs[name][-1].windows)
        np.testing.assert_allclose(frames.vectors, theirs[name][-1].vectors, atol=2e-3)


@pytest.mark.slow
def test_windows_of_several_frames_are_those_of_one_process(
    films: Path, tiny_x_clip: Path, cluster: Cluster, tmp_path: Path
) -> None:
    one, several = (Index(tmp_path / name, str(tiny_x_clip)) for name in ("here", "there"))
    some = [films / "copy.mp4", *sorted(films.glob("world*.mp4"))[:2]]
    expected = one.add(some, stride=1.0)
    report = several.add(some, stride=1.0, ray=cluster.address)
    assert sorted([*report.indexed, *report.moved]) == sorted([*expected.indexed, *expected.moved])
    assert next(iter(rows(one).values()))[-1].windows is not None
    assert_same(several, one)


@pytest.mark.slow
def test_features_are_those_of_one_process(manifest: Path, tiny_x_clip: Path, cluster: Cluster, tmp_path: Path) -> None:
    store = same_features(manifest, str(tiny_x_clip), cluster, tmp_path)
    assert all(store.windows(clip) is not None for clip, record in store.records.items() if record.cause is None)


@pytest.mark.slow
def test_the_command_line_indexes_on_two_nodes_as_here(
    films: Path, nodes: Any, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    assert len([node for node in ray_nodes() if node["Alive"]]) == 2
    code, out, err = call(
        *("index", films, "--index", tmp_path / "there", "--model", MODEL, "--ray", nodes.address, "--json")
    )
    assert code == 0, err
    assert [Path(entry["path"]).name for entry in json.loads(out)["failed"]] == ["broken.mp4"]
    here = Index(tmp_path / "here", MODEL)
    here.add(films)
    assert_same(Index(tmp_path / "there", MODEL), here)


@pytest.mark.slow
def test_an_index_is_that_of_one_process_also_after_a_node_is_lost(
    films: Path, objects: str, tmp_path: Path, nodes: Any
) -> None:
    here = Index(tmp_path / "here", MODEL)
    expected = here.add([films, objects])
    lost: list[str] = []

    def lose_a_node(path: str, done: float, total: float) -> None:
        """Remove the second node as soon as the first file is stored."""
        assert 0 < done <= total
        if not lost:
            lost.append(path)
            nodes.remove_node(nodes.second, allow_graceful=False)

    there = Index(tmp_path / "there", MODEL)
    report = there.add([films, objects], ray=nodes.address, progress=lose_a_node)
    assert lost
    broken = [str(films / "broken.mp4"), f"{objects}/object-broken.mp4"]
    assert sorted(path for path, _ in report.failed) == broken
    assert sum(path.startswith("s3://") for path in report.indexed) == 2
    assert sorted([*report.indexed, *report.moved]) == sorted([*expected.indexed, *expected.moved])
    assert report.frames == expected.frames
    assert_same(there, here)
    assert there.verify().problems == ()
    (films / "broken.mp4").unlink()  # it would be tried again
    again = there.add(films, ray=nodes.address)
    assert again.indexed == []
    assert len(again.unchanged) == 5
