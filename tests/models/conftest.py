"""Fixtures that the tests of several families share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.moving_square import write_moving_square


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven seconds of 96 x 64 with a square that moves over a ramp, at 4 frames per second."""
    return write_moving_square(tmp_path_factory.mktemp("films") / "film.mp4", count=28)
