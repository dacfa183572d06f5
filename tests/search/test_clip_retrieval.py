"""Exported vectors: the layout of clip-retrieval, against the index itself and against FAISS."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from mova.errors import UsageError
from mova.search.clip_retrieval import export_vectors
from mova.search.index import Index
from tests.support.fakes import ColourEncoder


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, worlds_manifest: Path) -> Index:
    index = Index(tmp_path_factory.mktemp("index") / "films.mova", ColourEncoder())
    index.add(sorted(worlds_manifest.parent.glob("*.mp4"))[:4])
    return index


@pytest.mark.parametrize("rows_per_file", [1_000_000, 7, 1])
def test_every_stored_frame_is_exported_once_whatever_the_size_of_files(
    index: Index, tmp_path: Path, rows_per_file: int
) -> None:
    exported = export_vectors(index, tmp_path / "out", rows_per_file=rows_per_file)
    arrays = [np.load(path) for path in sorted((tmp_path / "out" / "img_emb").glob("*.npy"))]
    tables = [parquet.read_table(path) for path in sorted((tmp_path / "out" / "metadata").glob("*.parquet"))]
    assert [len(array) for array in arrays] == [table.num_rows for table in tables]
    assert len(arrays) == exported.files == -(-exported.rows // rows_per_file)
    assert max(map(len, arrays)) <= rows_per_file
    vectors = np.concatenate(arrays)
    assert vectors.dtype == np.float16
    rows = [row for table in tables for row in table.to_pylist()]
    assert exported.rows == len(rows) == index.status().frames
    at = 0
    for record in index.videos():
        stored = index.stored(record.path)
        assert stored is not None
        part = slice(at, at + record.frames)
        assert {row["image_path"] for row in rows[part]} == {record.path}
        assert [row["time"] for row in rows[part]] == stored.times.tolist()
        unit = stored.frames / stored.frames.norm(dim=1, keepdim=True)
        np.testing.assert_allclose(vectors[part], unit.numpy(), atol=1e-3)
        at += record.frames


def test_faiss_finds_what_the_index_finds(index: Index, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    export_vectors(index, tmp_path, faiss=True)
    table = faiss.read_index(str(tmp_path / "image.index"))
    rows = parquet.read_table(tmp_path / "metadata" / "metadata_0.parquet").to_pylist()
    query = index.model.encode_text("red").unit_vectors()
    scores, found = table.search(query, 5)
    moment = index.search("red", k=1)[0]
    best = rows[found[0, 0]]
    assert scores[0, 0] == pytest.approx(moment.score, abs=2e-3)
    assert any(
        rows[i]["image_path"] == moment.video and moment.start <= rows[i]["time"] < moment.end
        for i, score in zip(found[0], scores[0], strict=True)
        if score > scores[0, 0] - 2e-3
    ), best


def test_the_model_is_named_for_text_vectors(index: Index, tmp_path: Path) -> None:
    export_vectors(index, tmp_path)
    document = json.loads((tmp_path / "mova.json").read_text(encoding="utf-8"))
    assert (document["model"], document["dim"]) == (index.meta.model, index.meta.dim)


def test_what_cannot_be_exported_is_refused(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_vectors(index, tmp_path / "out")
    with pytest.raises(UsageError, match="holds an export already"):
        export_vectors(index, tmp_path / "out")
    with pytest.raises(UsageError, match="no index here"):
        export_vectors(Index(tmp_path / "none.mova"), tmp_path / "other")
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(UsageError, match="pip install faiss-cpu"):
        export_vectors(index, tmp_path / "third", faiss=True)
    assert not (tmp_path / "third").exists()
