"""Indexing on a Ray cluster of two nodes on this machine: the same rows and report, also when a node is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.errors import MovaError, NotInstalledError, UsageError
from mova.remote import systems
from mova.search.index import Index
from mova.search.ingest.cluster import encoders
from mova.utils.cluster import Cluster
from mova.worlds.writer import write_worlds
from tests.support.fakes import ColourEncoder
from tests.support.object_storage import serving

MODEL = "mova-worlds-tiny"
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


@pytest.fixture
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


@pytest.fixture
def cluster(objects: str) -> Iterator[Any]:
    """Two nodes with one processor each; this process is connected to them."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    from ray.cluster_utils import Cluster as Nodes

    options = {"num_cpus": 1, "object_store_memory": 200 << 20, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args=options)
    nodes.second = nodes.add_node(num_cpus=1, object_store_memory=200 << 20)
    ray.init(nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


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
def test_two_nodes_store_what_one_process_stores_also_after_one_is_lost(
    films: Path, objects: str, tiny_x_clip: Path, tmp_path: Path, cluster: Any
) -> None:
    here = Index(tmp_path / "here", MODEL)
    expected = here.add([films, objects])
    lost: list[str] = []

    def lose_a_node(path: str, done: float, total: float) -> None:
        """Remove the second node as soon as the first file is stored."""
        assert 0 < done <= total
        if not lost:
            lost.append(path)
            cluster.remove_node(cluster.second, allow_graceful=False)

    there = Index(tmp_path / "there", MODEL)
    report = there.add([films, objects], ray=cluster.address, progress=lose_a_node)
    assert lost
    broken = [str(films / "broken.mp4"), f"{objects}/object-broken.mp4"]
    assert sorted(path for path, _ in report.failed) == broken
    assert sum(path.startswith("s3://") for path in report.indexed) == 2
    assert sorted([*report.indexed, *report.moved]) == sorted([*expected.indexed, *expected.moved])
    assert report.frames == expected.frames
    assert_same(there, here)
    assert there.verify().problems == ()
    (films / "broken.mp4").unlink()  # it would be tried again
    again = there.add(films, ray=cluster.address)
    assert again.indexed == []
    assert len(again.unchanged) == 5

    one, several = (Index(tmp_path / name, str(tiny_x_clip)) for name in ("windows-here", "windows-there"))
    expected = one.add(films, stride=1.0)
    report = several.add(films, stride=1.0, ray=cluster.address)
    assert sorted([*report.indexed, *report.moved]) == sorted([*expected.indexed, *expected.moved])
    assert next(iter(rows(one).values()))[-1].windows is not None
    assert_same(several, one)


def test_actors_that_decode_reserve_a_processor_beside_their_gpu() -> None:
    assert encoders(8.0, 2, 1.0, whole_files=True) == (2, {"num_cpus": 1, "num_gpus": 1})
    assert encoders(2.0, 8, 1.0, whole_files=True) == (2, {"num_cpus": 1, "num_gpus": 1}), "more would wait for ever"
    assert encoders(3.0, 0, 1.0, whole_files=True) == (3, {"num_cpus": 1, "num_gpus": 0})
    assert encoders(8.0, 2, 1.0, whole_files=False) == (2, {"num_cpus": 0, "num_gpus": 1})
    assert encoders(1.0, 0, 0.5, whole_files=False) == (1, {"num_cpus": 0.5, "num_gpus": 0})


def test_every_node_must_be_able_to_load_the_model(films: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name or folder"):
        Index(tmp_path / "index", ColourEncoder()).add(films, ray="local")


def test_a_folder_with_a_model_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Cluster.of("auto", "model", "default").model == str(tmp_path / "model")
    assert Cluster.of("auto", None, "default").model == "default"


def test_a_cluster_that_is_not_there_is_one_message(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray.data")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # a cluster that was killed leaves its address behind
    with pytest.raises(UsageError, match="--ray auto: no Ray cluster can be reached"):
        Index(tmp_path / "index", MODEL).add(films, ray="auto")


def test_without_ray_the_message_says_what_to_install(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(NotInstalledError, match=r"mova\[scale\]"):
        Index(tmp_path / "index", MODEL).add(films, ray="local")
    assert issubclass(NotInstalledError, MovaError)


def test_threads_of_this_machine_say_nothing_about_a_cluster(films: Path, tmp_path: Path, call: Any) -> None:
    code, _, err = call("index", films, "--index", tmp_path / "index", "--ray", "local", "--threads", 2)
    assert code == 2
    assert "--threads" in err
