"""Fixtures that many tests share. Everything runs offline."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["MOVA_CONFIG"] = os.devnull  # no defaults of the user
for name in ("MOVA_INDEX", "MOVA_MODEL", "MOVA_DEVICE", "MOVA_PRECISION"):
    os.environ.pop(name, None)
settings.register_profile("mova", deadline=None)  # no test depends on how busy the machine is
settings.load_profile("mova")
gc.set_threshold(100_000, 50, 100)  # looking at all objects of large packages again and again took a third of the time


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collection: every end of a training collects."""
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real videos and annotations beside the repository; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MOVA_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip("the shared data folder is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def worlds_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten rendered Worlds of 10 s at 4 frames per second: six of split train, two of val, two of test."""
    from mova.worlds.writer import write_worlds

    return write_worlds(tmp_path_factory.mktemp("worlds"), 10, 10, "flat", seed=0, size=48, fps=4.0)


def _tiny(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny_models import BUILDERS

    return BUILDERS[kind](tmp_path_factory.mktemp("checkpoints") / f"tiny-{kind}")


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP checkpoint in the hub's layout: real architecture and tokenizer, random weights."""
    return _tiny("clip", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SigLIP checkpoint in the hub's layout."""
    return _tiny("siglip", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_siglip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SigLIP 2 checkpoint (fixed resolution) in the hub's layout."""
    return _tiny("siglip2", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_naflex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SigLIP 2 NaFlex checkpoint (any ratio) in the hub's layout."""
    return _tiny("naflex", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_metaclip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MetaCLIP 2 checkpoint in the hub's layout."""
    return _tiny("metaclip2", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_aimv2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AIMv2 checkpoint with a text tower in the hub's layout."""
    return _tiny("aimv2", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_x_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An X-CLIP checkpoint (windows of four frames) in the hub's layout."""
    from tests.support.tiny_models import build_x_clip

    return build_x_clip(tmp_path_factory.mktemp("checkpoints") / "tiny-x-clip")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `mova WORDS...` in this process: exit code, stdout, stderr; a traceback fails the test."""
    from mova.cli.main import run

    def invoke(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mova", *map(str, words)])
        code = 0
        try:
            run()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return code, captured.out, captured.err

    return invoke


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """Undo what the command line does to mova's log, in every test: other tests read the log."""
    logger = logging.getLogger("mova")
    before = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before
