"""Pictures of timelines: positions of everything drawn, for various videos and captions."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mova.errors import UsageError, VideoError
from mova.plots.filmstrip import film_strip, tick_labels, tick_times
from mova.plots.timeline import draw
from mova.plots.timeline_rows import PictureOptions
from mova.search.align import align
from mova.types import ScoredSpan, SentenceTimeline, Span, Timeline
from tests.support.fakes import COLOURS, ColourEncoder, write_colours
from tests.support.odd_videos import write_numbered


@pytest.fixture(scope="module")
def timeline(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    folder = tmp_path_factory.mktemp("films")
    film = write_colours(folder / "a <b> & c.mp4", [("red", 3), ("white", 4), ("blue", 3)], size=(60, 80))
    return align(ColourEncoder(), film, 'It is <i>red</i> & "bright". A $x_1$ blue one.')


def uris(page: str) -> list[Image.Image]:
    encoded = re.findall(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]+)", page)
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in encoded]


def boxes(page: str, kind: str) -> list[tuple[float, float]]:
    """Return (left, width) in percent of all marks of a kind."""
    pattern = rf'<i class="{kind}" style="left:([\d.]+)%;width:([\d.]+)%"'
    return [(float(a), float(b)) for a, b in re.findall(pattern, page)]


def test_html_is_self_contained_and_marks_are_at_their_times(timeline: Timeline, tmp_path: Path) -> None:
    page = draw(timeline, tmp_path / "t.html", truth=[[Span(0, 2)], []]).read_text(encoding="utf-8")
    assert "http" not in page
    assert "<!--" not in page
    assert boxes(page, "covered") == [pytest.approx((0, 30), abs=0.1), pytest.approx((70, 30), abs=0.1)]
    assert boxes(page, "reference") == [pytest.approx((0, 20), abs=0.1)]
    assert re.search(r'title="0:00.0 to 0:03.0, score 1.000, posterior (0.9\d|1.00)"', page)
    assert boxes(page, "uncovered") == 3 * [pytest.approx((30, 40), abs=0.1)]
    assert "It is &lt;i&gt;red&lt;/i&gt; &amp; &quot;bright&quot;." in page
    assert "<title>a &lt;b&gt; &amp; c.mp4</title>" in page
    parser = HTMLParser()
    parser.feed(page)
    parser.close()


def test_html_heat_is_the_relevance(timeline: Timeline, tmp_path: Path) -> None:
    page = draw(timeline, tmp_path / "t.html").read_text(encoding="utf-8")
    assert boxes(page, "reference") == []
    *thumbnails, first, common, second, _ = uris(page)
    assert len(thumbnails) == 9
    low, high = (f([f(row.relevance) for row in timeline.sentences]) for f in (min, max))
    expected = np.round(255 * (timeline.sentences[0].relevance[-1] - low) / (high - low))
    assert abs(int(np.asarray(common)[0, -1, 3]) - expected) <= 1
    opacity = np.asarray(first)[0, :, 3]
    assert opacity[: int(0.3 * len(opacity)) - 2].min() > 250
    assert opacity[int(0.3 * len(opacity)) + 2 :].max() < 5
    assert np.asarray(second)[0, -1, 3] > 250
    data = json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', page)[1])
    assert data["times"] == timeline.times.tolist()
    assert np.allclose(data["relevance"][1], timeline.sentences[1].relevance, atol=1e-4)


def test_a_long_curve_keeps_its_highest_values(timeline: Timeline, tmp_path: Path) -> None:
    relevance = np.zeros(5000, dtype=np.float32)
    relevance[[17, 3333]] = 1.0
    row = SentenceTimeline("Two flashes.", relevance, ())
    long = Timeline(timeline.video, 10.0, np.arange(5000) / 500, (row,), (Span(0, 10),))
    heat = np.asarray(uris(draw(long, tmp_path / "t.html").read_text())[-2])[0, :, 3]
    assert np.flatnonzero(heat == 255).tolist() == [17 * 1600 // 5000, 3333 * 1600 // 5000]


def test_each_sentence_has_its_own_scale_and_color(timeline: Timeline, tmp_path: Path) -> None:
    """A sentence whose relevance is low everywhere is readable in its own scale, and pale in the common one."""
    faint = SentenceTimeline("Faint.", np.linspace(0, 0.1, 100, dtype=np.float32), ())
    strong = SentenceTimeline("Strong.", np.linspace(0, 1, 100, dtype=np.float32), ())
    two = Timeline(timeline.video, 10.0, np.arange(100) / 10, (faint, strong), ())
    *_, own, common, strong_own, strong_common = (np.asarray(picture) for picture in uris(drawn(two, tmp_path)))
    assert own[0, -1, 3] == 255
    assert common[0, -1, 3] == 26
    assert np.array_equal(strong_own, strong_common)
    assert own[0, 0, :3].tolist() != strong_own[0, 0, :3].tolist()
    assert 'id="common">' in drawn(two, tmp_path)
    assert 'id="common" checked>' in drawn(two, tmp_path, PictureOptions(common_scale=True))


def drawn(timeline: Timeline, folder: Path, options: PictureOptions | None = None) -> str:
    return draw(timeline, folder / "drawn.html", options=options).read_text(encoding="utf-8")


def doubtful(timeline: Timeline) -> Timeline:
    """Return a timeline with a span that is probably wrong, and a sentence that is probably not shown."""
    sure, unsure = ScoredSpan(Span(1, 3), 0.9, 0.871), ScoredSpan(Span(6, 8), 0.5, 0.3)
    times, curve = timeline.times, np.linspace(0, 1, len(timeline.times), dtype=np.float32)
    rows = (
        SentenceTimeline("Rain.", curve, (sure, unsure), curve, 0.99),
        SentenceTimeline("Snow.", curve, (ScoredSpan(Span(4, 5), 0.5, 0.26),), curve, 0.125),
    )
    return Timeline(timeline.video, 10.0, times, rows, (Span(0, 1),))


def test_spans_are_written_with_times_and_posterior_and_uncertain_ones_are_hidden(
    timeline: Timeline, tmp_path: Path
) -> None:
    page = drawn(doubtful(timeline), tmp_path)
    assert "<span>0:01.0 to 0:03.0, 87%</span>" in page
    assert '<span class="low">0:06.0 to 0:08.0, 30%</span>' in page
    assert "<em>probably not shown (shown: 12%)</em>" in page
    assert "spans below 50% (2)" in page
    placed = replace(doubtful(timeline).sentences[1], spans=(), likely=ScoredSpan(Span(4, 5), 0.5, 0.26))
    told = "<em>probably not shown (shown: 12%); if at all, 0:04.0 to 0:05.0, 26%</em>"
    assert told in drawn(replace(doubtful(timeline), sentences=(placed,)), tmp_path)
    unclear = replace(doubtful(timeline).sentences[1], shown=0.81)
    assert "<em>unclear when (shown: 81%)</em>" in drawn(replace(doubtful(timeline), sentences=(unclear,)), tmp_path)
    assert boxes(page, "covered") == [pytest.approx((10, 20))]
    assert boxes(page, "covered low") == [pytest.approx((60, 20)), pytest.approx((40, 10))]
    assert ".common, .low { display: none; }" in page
    assert page.count('class="lane"') == 1
    assert re.findall(r'<a href="#(s\d)"', page) == ["s1"]
    assert [part["class"] for part in sections(page)] == ["", "absent"]
    assert 'id="all" checked>' in drawn(doubtful(timeline), tmp_path, PictureOptions(all_spans=True))
    assert 'id="all"' not in drawn(timeline, tmp_path)


def sections(page: str) -> list[dict[str, str]]:
    return [{"class": name} for name in re.findall(r'<section id="s\d+" style="[^"]*"(?: class=(\w+))?>', page)]


def test_png_leaves_uncertain_spans_out_unless_asked(timeline: Timeline, tmp_path: Path) -> None:
    pictures = [
        np.asarray(Image.open(draw(doubtful(timeline), tmp_path / "p.png", options=options)).convert("L")).astype(int)
        for options in (None, PictureOptions(all_spans=True), PictureOptions(common_scale=True))
    ]
    dark = [int((picture < 60).sum()) for picture in pictures]
    assert dark[1] > dark[0], "more outlines"
    assert pictures[2].shape[1] == pictures[0].shape[1]
    assert not np.array_equal(pictures[2], pictures[0]), "a color bar instead of the range of each sentence"


def test_png_shows_frames_heat_spans_and_truth(timeline: Timeline, tmp_path: Path) -> None:
    from mova.plots import timeline as module

    pictures = {}
    for name, truth in (("with", [[Span(0, 3)], [Span(7, 10)]]), ("without", None)):
        path = draw(timeline, tmp_path / f"{name}.png", truth=truth)
        pictures[name] = np.asarray(Image.open(path).convert("RGB")).astype(int)
    plain = pictures["without"]
    width = plain.shape[1]
    assert width == round(module.WIDTH * module.DPI)
    strip_row = round((module.TOP + 0.2) * module.DPI)
    inner = round(module.LEFT * module.DPI), round((module.WIDTH - module.RIGHT) * module.DPI)
    left_pixel = plain[strip_row, inner[0] + 20]
    assert np.abs(left_pixel - COLOURS["red"]).max() < 25
    assert np.abs(plain[strip_row, inner[1] - 20] - COLOURS["blue"]).max() < 25
    accent = np.abs(pictures["with"] - np.array([0xE0, 0x7A, 0x1F])).max(axis=2) < 12
    assert accent[:, inner[0] : inner[1]].sum() > 0.5 * 0.6 * (inner[1] - inner[0]) * 0.09 * module.DPI
    assert not (np.abs(plain - np.array([0xE0, 0x7A, 0x1F])).max(axis=2) < 12).any()


def test_one_frame_and_a_constant_curve(timeline: Timeline, tmp_path: Path) -> None:
    row = SentenceTimeline("Still.", np.array([0.3], dtype=np.float32), ())
    still = Timeline(timeline.video, 5.0, np.array([0.0]), (row,), (Span(0, 5),))
    for ending in (".png", ".HTML"):
        assert draw(still, tmp_path / "new" / f"still{ending}").stat().st_size > 1000


def test_an_undecodable_file_name_is_drawn(timeline: Timeline, tmp_path: Path) -> None:
    film = tmp_path / os.fsdecode(b"caf\xe9.mp4")  # a Latin-1 name
    try:
        film.write_bytes(Path(timeline.video).read_bytes())
    except OSError:
        pytest.skip("this file system accepts only UTF-8 names")
    for ending in (".png", ".html"):
        page = draw(replace(timeline, video=str(film)), tmp_path / f"t{ending}")
        assert page.stat().st_size > 1000
    assert "caf?.mp4" in page.read_text(encoding="utf-8")


def test_invalid_requests_raise(timeline: Timeline, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.html"):
        draw(timeline, tmp_path / "t.svg")
    with pytest.raises(UsageError, match="1 lists of true spans for 2 sentences"):
        draw(timeline, tmp_path / "t.png", truth=[[]])
    gone = Timeline("gone.mp4", 5.0, timeline.times[:20], (), ())
    with pytest.raises((VideoError, UsageError)):
        film_strip(gone.video, gone.duration, 10, 100)


@pytest.mark.parametrize("size", [(60, 80), (80, 60), (20, 160)])
def test_thumbnails_fill_the_strip_without_distortion(size: tuple[int, int], tmp_path: Path) -> None:
    film = write_colours(tmp_path / "a.mp4", [("red", 2), ("green", 2)], size=size)
    pictures = [picture for picture in film_strip(str(film), 4.0, 10.0, 48) if picture is not None]
    height, width = pictures[0].shape[:2]
    assert len(pictures) * width / height == pytest.approx(10.0, rel=0.1)
    assert np.abs(pictures[0].mean(axis=(0, 1)) - COLOURS["red"]).max() < 20
    assert np.abs(pictures[-1].mean(axis=(0, 1)) - COLOURS["green"]).max() < 20


def test_ticks_are_round_and_few() -> None:
    for duration in (0.4, 3.0, 59.0, 61.0, 633.0, 7200.0, 90_000.0):
        times = tick_times(duration)
        assert 1 <= len(times) <= 14
        assert times[-1] <= duration
        assert len(set(tick_labels(times))) == len(times)
    assert tick_labels(tick_times(61.0))[:3] == ["0:00", "0:10", "0:20"]


@pytest.mark.parametrize("name", ["page.html", "page.png"])
def test_a_full_disk_leaves_no_half_page(
    timeline: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_text("old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        draw(timeline, tmp_path / name)
    assert (tmp_path / name).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.fixture(scope="module")
def gapped(timeline: Timeline) -> Timeline:
    """A timeline of 10 s whose frames from 4 s to 8 s are missing."""
    times = np.concatenate([np.arange(8), np.arange(16, 20)]) / 2
    row = SentenceTimeline("All of it.", np.linspace(1, 0.5, 12, dtype=np.float32), (), np.ones(12, np.float32))
    return Timeline(timeline.video, 10.0, times, (row,), (), step=0.5)


def test_html_draws_nothing_where_frames_are_missing(gapped: Timeline, tmp_path: Path) -> None:
    page = draw(gapped, tmp_path / "t.html").read_text(encoding="utf-8")
    opacity = np.asarray(uris(page)[-1])[0, :, 3]
    assert opacity[640:1280].max() == 0
    assert opacity[:640].min() > 50
    assert '"gaps": [[4.0, 8.0]]' in page


def test_png_draws_nothing_where_frames_are_missing(gapped: Timeline, tmp_path: Path) -> None:
    from mova.plots import timeline as module

    pixels = np.asarray(Image.open(draw(gapped, tmp_path / "t.png")).convert("RGB")).astype(int)
    row = round((module.TOP + module.STRIP + module.GAP + module.LINE + module.HEAT / 2) * module.DPI)
    left, width = module.LEFT * module.DPI, (module.WIDTH - module.LEFT - module.RIGHT) * module.DPI
    assert pixels[row, round(left + 0.42 * width) : round(left + 0.78 * width)].min() == 255
    assert pixels[row, round(left + 0.02 * width) : round(left + 0.38 * width)].max(axis=1).max() < 255


def test_a_film_strip_shows_no_picture_of_a_time_without_pictures(
    timeline: Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_numbered(tmp_path / "gap.mkv", [*range(100), *range(250, 350)])  # nothing from 4 to 10 s
    strip = film_strip(str(film), 14.0, 12.0, 32)
    middles = (np.arange(len(strip)) + 0.5) * 14 / len(strip)
    assert [picture is None for picture in strip] == [4 <= time < 10 for time in middles]
    row = SentenceTimeline("All of it.", np.ones(2, np.float32), (), np.ones(2, np.float32))
    drawn = Timeline(str(film), 14.0, np.array([0.0, 10.0]), (row,), (), step=0.5)
    missing = sum(picture is None for picture in strip)
    page = draw(drawn, tmp_path / "t.html").read_text(encoding="utf-8")
    assert page.count("no picture") == missing
    written = []
    monkeypatch.setattr("matplotlib.axes.Axes.text", lambda self, x, y, text, **style: written.append((x, text)))
    draw(drawn, tmp_path / "t.png")
    times = [time for time, text in written if text == "no picture"]
    assert len(times) > 1
    assert all(4 < time < 10 for time in times)


def test_bars_of_a_table_are_empty_where_frames_are_missing(gapped: Timeline) -> None:
    from mova.cli.commands.align import _bars

    assert _bars(gapped.sentences[0].posterior, gapped) == 16 * "█" + 16 * " " + 8 * "█"
    assert _bars(gapped.sentences[0].posterior, replace(gapped, step=None)) == 12 * "█"
