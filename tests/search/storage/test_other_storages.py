"""Azure's and Google's storage by their emulators, where these are installed: videos there, and an index on Azure's.

Google's emulator refuses the uploads of LanceDB (XML API), so an index by `gs://` cannot be tried with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mova.remote import systems
from mova.search.index import Index
from mova.search.storage import lease
from mova.utils.file_lock import LockedError
from tests.support.fakes import ColourEncoder, write_colours
from tests.support.object_storage import serving_azure, serving_google

FILMS = {"a.mp4": [("red", 2.0), ("green", 2.0)], "b.mp4": [("blue", 2.0), ("red", 1.0)]}


@contextmanager
def variables_of(found: dict[str, str], cache: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**found, "XDG_CACHE_HOME": str(cache)}.items():
            patch.setenv(name, value)
        systems._system.cache_clear()
        yield
        systems._system.cache_clear()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, parts in FILMS.items():
        write_colours(folder / name, parts)
    return folder


@pytest.fixture
def azure(films: Path, tmp_path: Path) -> Iterator[str]:
    """The URI of a container with a folder `videos`."""
    with serving_azure() as found, variables_of(found, tmp_path / "cache"):
        system = systems._az("films")
        system.create_dir("films")
        upload(system, films)
        yield "az://films"


@pytest.fixture
def google(films: Path, tmp_path: Path) -> Iterator[str]:
    """The URI of a bucket with a folder `videos`."""
    with serving_google("films") as found, variables_of(found, tmp_path / "cache"):
        upload(systems._gs("films"), films)
        yield "gs://films"


def upload(system: Any, films: Path) -> None:
    for path in films.iterdir():
        with system.open_output_stream(f"films/videos/{path.name}") as file:
            file.write(path.read_bytes())


def assert_same_answers(index: Index, local: Index) -> None:
    assert [Path(record.path).name for record in index.videos()] == [
        Path(record.path).name for record in local.videos()
    ]
    for text in ("red", "It is blue. It is red."):
        ours, theirs = index.search(text, k=3), local.search(text, k=3)
        moments = [[(Path(m.video).name, m.start, m.end) for m in answer] for answer in (ours, theirs)]
        assert moments[0] == moments[1]
        np.testing.assert_allclose([m.score for m in ours], [m.score for m in theirs], atol=1e-5)


def test_videos_and_index_on_azure(azure: str, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.1)
    refused = list[str]()

    def write_too(path: str, done: float, total: float) -> None:
        if not refused:
            with pytest.raises(LockedError, match="is writing here") as error:
                Index(f"{azure}/index", ColourEncoder()).add(f"{azure}/videos")
            refused.append(str(error.value))

    report = Index(f"{azure}/index", ColourEncoder()).add(f"{azure}/videos", progress=write_too)
    assert refused
    assert len(report.indexed) == len(FILMS)
    local = Index(tmp_path / "local", ColourEncoder())
    local.add(films)
    index = Index(f"{azure}/index", ColourEncoder())
    assert index._reader().mapped  # the copy in the user's cache
    assert_same_answers(index, local)
    assert index.verify().problems == ()
    assert index.add(f"{azure}/videos").unchanged == report.indexed
    assert len(index.remove(f"{azure}/videos/a.mp4")) == 1


def test_videos_on_google(google: str, films: Path, tmp_path: Path) -> None:
    index, local = (Index(tmp_path / name, ColourEncoder()) for name in ("google", "local"))
    local.add(films)
    assert len(index.add(f"{google}/videos").indexed) == len(FILMS)
    assert_same_answers(index, local)
    assert len(index.update().unchanged) == len(FILMS)
