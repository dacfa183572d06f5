"""Indexing on a Ray cluster: what it asks for and refuses; `tests/utils/test_cluster.py` compares the rows."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mova.errors import MovaError, NotInstalledError, UsageError
from mova.search.index import Index
from mova.search.ingest.cluster import encoders
from mova.utils.cluster import Cluster
from tests.support.fakes import ColourEncoder

MODEL = "mova-worlds-tiny"


@pytest.fixture
def films(worlds_manifest: Path) -> Path:
    return worlds_manifest.parent


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
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", cache(frozenset))  # another cluster may run here
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
