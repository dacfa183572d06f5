"""Pans over pictures: the film shows each picture in its seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mova.errors import UsageError
from mova.types import Span
from mova.video.probe import probe
from mova.video.reader import read_times
from mova.worlds.slideshow import pan, write_slideshow


def plain(color: tuple[int, int, int], height: int = 60, width: int = 80) -> np.ndarray:
    return np.broadcast_to(np.array(color, dtype=np.uint8), (height, width, 3)).copy()


def test_each_picture_has_its_seconds(tmp_path: Path) -> None:
    colors = [(220, 20, 20), (20, 220, 20), (20, 20, 220)]
    spans = write_slideshow(tmp_path / "film.mp4", [plain(c) for c in colors], seconds=2, fps=5, size=(64, 36))
    assert spans == [Span(0, 2), Span(2, 4), Span(4, 6)]
    assert probe(tmp_path / "film.mp4").duration == pytest.approx(6, abs=0.01)
    for span, color in zip(spans, colors, strict=True):
        shown = read_times(tmp_path / "film.mp4", [span.start + 0.05, span.end - 0.05]).pixels
        assert np.abs(shown.mean(axis=(1, 2)) - color).max() < 12


def test_a_pan_starts_and_ends_in_opposite_corners() -> None:
    picture = np.zeros((50, 80, 3), dtype=np.uint8)
    picture[:, :, 0] = np.linspace(0, 255, 80)[None]
    picture[:, :, 1] = np.linspace(0, 255, 50)[:, None]
    frames = np.concatenate(list(pan(picture, 5, (32, 20))))
    assert frames.shape == (5, 20, 32, 3)
    means = frames.astype(float).mean(axis=(1, 2))
    assert (np.diff(means[:, 0]) > 0).all()
    assert (np.diff(means[:, 1]) > 0).all()
    back = np.concatenate(list(pan(picture, 5, (32, 20), backwards=True)))
    assert np.array_equal(back, frames[::-1])


def test_tall_pictures_fill_the_frame() -> None:
    (frame,) = pan(plain((200, 200, 200), 300, 40), 1, (64, 36))
    assert frame.min() == 200


@pytest.mark.parametrize(("count", "seconds"), [(0, 4.0), (1, 0.01)])
def test_an_empty_film_is_an_error(tmp_path: Path, count: int, seconds: float) -> None:
    with pytest.raises(UsageError, match="at least one picture"):
        write_slideshow(tmp_path / "film.mp4", [plain((0, 0, 0))] * count, seconds=seconds)
