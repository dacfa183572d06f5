"""Pages of found moments: one row per query, thumbnails of the right seconds."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mova.errors import UsageError
from mova.plots.moments import draw_moments
from mova.types import Moment
from mova.worlds.slideshow import write_slideshow


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "a<b>.mp4"
    colors = np.array([[220, 20, 20], [20, 20, 220]], dtype=np.uint8)
    write_slideshow(path, [np.broadcast_to(c, (36, 64, 3)).copy() for c in colors], seconds=2, fps=5, size=(64, 36))
    return path


def test_html_shows_the_middle_of_each_moment(film: Path, tmp_path: Path) -> None:
    first, second = (Moment(str(film), start, start + 2, 0.5) for start in (0.0, 2.0))
    path = draw_moments([("a <red> thing", [first, second]), ("nothing", [])], tmp_path / "new" / "page.html")
    text = path.read_text(encoding="utf-8")
    assert "a &lt;red&gt; thing" in text
    assert "a&lt;b&gt;.mp4" in text
    assert "No moments." in text
    assert "://" not in text.replace("file://", "")
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in re.findall(r"base64,([^\"]+)", text)
    ]
    assert [int(picture.mean(axis=(0, 1)).argmax()) for picture in pictures] == [0, 2]


def test_png_has_a_row_per_query(film: Path, tmp_path: Path) -> None:
    moment = Moment(str(film), 0.0, 2.0, 0.5)
    sizes = []
    for count in (1, 2):
        path = draw_moments([("red", [moment])] * count, tmp_path / f"{count}.png")
        sizes.append(Image.open(path).size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] > 1.5 * sizes[0][1]


def test_other_extensions_and_no_queries_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.html"):
        draw_moments([("a", [])], tmp_path / "page.pdf")
    with pytest.raises(UsageError, match="no queries"):
        draw_moments([], tmp_path / "page.png")
