"""The search benchmark: another engine in the place of ours, and engines that are not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.common import footage, nearest_peers
from benchmarks.speed import search_scale
from mova.search.cold.snapshot import Snapshot


def test_an_exact_engine_gives_the_moments_of_the_snapshot_and_a_poor_one_loses_some(tmp_path: Path) -> None:
    drawn = footage.Footage(np.random.default_rng(0))
    search_scale.build(tmp_path / "index", drawn, 1300)
    snapshot = Snapshot.open(tmp_path / "index")
    assert snapshot is not None
    wide = snapshot.vectors[:].astype(np.float32)

    def search(vector: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
        cosines = wide @ vector
        rows = np.argsort(-cosines)[:limit]
        return rows, cosines[rows]

    queries = drawn.texts(4)
    truth = [search_scale.whole_query(snapshot, vector) for vector in queries]
    exact = nearest_peers.Replaced(snapshot, search)
    assert [search_scale.whole_query(exact, vector) for vector in queries] == truth  # type: ignore[arg-type]
    poor = nearest_peers.Replaced(snapshot, lambda vector, limit: tuple(part[-limit:] for part in search(vector, 600)))  # type: ignore[arg-type,return-value]
    lost = [search_scale.whole_query(poor, vector) for vector in queries]  # type: ignore[arg-type]
    assert search_scale.recall(lost, truth) < 1


def test_engines_that_are_not_installed_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(nearest_peers, "import_module", absent)
    assert nearest_peers.half_precision(np.zeros((2, 4), np.float16), 2) is None
    assert capsys.readouterr().out.startswith("not compared: faiss-cpu")
    assert list(nearest_peers.installed()) == []
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" is not")[0] for line in lines] == ["not compared: faiss-cpu", "not compared: usearch"]


def test_every_engine_that_is_installed_finds_a_stored_frame(tmp_path: Path) -> None:
    peers = list(nearest_peers.installed())
    if not peers:
        pytest.skip("neither FAISS nor USearch is installed")
    vectors = footage.Footage(np.random.default_rng(0)).frames(400)
    for peer in peers:
        engine = peer.build(vectors)
        for search in engine.searches.values():
            rows, cosines = search(vectors[7], 3)
            assert rows[0] == 7
            assert cosines[0] == pytest.approx(1, abs=0.01)
        engine.save(tmp_path / "saved")
        assert (tmp_path / "saved").stat().st_size > vectors.size
        read = next(iter(peer.load(tmp_path / "saved").searches.values()))
        assert read(vectors[9], 1)[0] == 9
    search = nearest_peers.half_precision(vectors.astype(np.float16), 150)
    assert search is not None
    assert search(vectors[7], 3)[0][0] == 7
