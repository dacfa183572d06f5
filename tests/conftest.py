"""Fixtures that many tests share. Everything runs offline."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real videos and annotations beside the repository; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MOVA_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip("the shared data folder is not beside this checkout")
    return folder
