"""Commands that read files only refuse a manifest that names objects, before anything is read or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mova.data.expansion.materialize import materialize
from mova.data.manifest import Caption, Row, write_manifest
from mova.data.synthetic import Synthetic, with_synthetic
from mova.errors import DataError
from mova.text_to_video.weighting import find_cases

ROW = Row("a", "s3://films/a.mp4", 9.0, "train", (Caption("a dog runs"),), 0.0, 4.0)


def test_features_of_objects_are_refused(tmp_path: Path, call: Any) -> None:
    manifest = write_manifest(tmp_path / "in.jsonl", [ROW])
    code, _, err = call("data", "features", manifest, tmp_path / "store", "--model", "mova-worlds-tiny")
    assert code == 1
    assert "names videos in object storage (1, the first: s3://films/a.mp4); this command reads files only" in err
    assert "No such file" not in err


def test_clips_of_objects_are_not_cut(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "in.jsonl", [ROW])
    with pytest.raises(DataError, match="names videos in object storage"):
        materialize(manifest, tmp_path / "clips")
    assert not (tmp_path / "clips").exists()


def test_synthetic_videos_that_are_objects_are_refused() -> None:
    made = Synthetic("s3://films/b.mp4", "a cat runs", "negative", 0, 0, 2.0)
    with pytest.raises(DataError, match="the first: s3://films/b"):
        find_cases([with_synthetic(ROW, [made])], "somewhere")
