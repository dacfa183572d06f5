"""Worlds from the outside: objects are detected in the pixels and compared with the captions."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from mova.data.manifest import read_manifest
from mova.errors import UsageError
from mova.video.probe import probe
from mova.video.reader import read_times
from mova.worlds.factors import (
    FACTORS,
    OTHER_SHAPES,
    Event,
    Filler,
    facts,
    is_possible,
    mutate,
    sample_event,
    sample_filler,
)
from mova.worlds.nuisance import Nuisance, sample_nuisance
from mova.worlds.render import HELD_OUT_STYLE, STYLES, TRAIN_STYLES, render_event, render_filler, render_scenery
from mova.worlds.writer import World, render_world, sample_world, stream_world, true_spans, world_row, write_worlds

SIZE = 64
SECONDS = 4.0
TIMES = np.linspace(0, SECONDS, 33)[:-1]


def calm(seed: int = 0, **changes: object) -> Nuisance:
    """Draw nuisances without noise or camera drift, so that only the event moves."""
    nuisance = sample_nuisance(np.random.default_rng(seed))
    return replace(nuisance, noise=0, drift=(0.0, 0.0), vignette=0.0, speed=1.0, phase=0.1, **changes)


def masks(event: Event, style: str = "flat", size: int = SIZE, seed: int = 0) -> npt.NDArray[np.bool_]:
    """Return where frames differ from the same place without objects, (T, H, W)."""
    with_it = render_event(event, calm(seed), style, TIMES, SECONDS, size).astype(int)
    without = render_scenery(Filler(event.place, None), calm(seed), style, TIMES, SECONDS, size)
    return abs(with_it - without).max(axis=-1) > 24


def centres(regions: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return np.array([ndimage.center_of_mass(mask) for mask in regions])[:, ::-1] / regions.shape[1]


def objects(mask: npt.NDArray[np.bool_]) -> int:
    """Count connected regions, ignoring single pixels such as a covered speck of the scenery."""
    regions, _ = ndimage.label(mask, np.ones((3, 3)))
    return int((np.bincount(regions.ravel())[1:] > 8).sum())


def event_of(motion: str, shape: str = "heart", **more: object) -> Event:
    return Event(shape, "red", "large", motion, "room", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("motion", "axis", "sign"),
    [("left_to_right", 0, 1), ("right_to_left", 0, -1), ("falling", 1, 1), ("rising", 1, -1)],
)
def test_objects_move_in_their_direction(style: str, motion: str, axis: int, sign: int) -> None:
    steps = np.diff(centres(masks(event_of(motion), style)), axis=0)
    assert (sign * steps[:, axis] > 0.004).all()
    assert abs(steps[:, 1 - axis]).max() < 0.01
    assert sign * steps[:, axis].sum() > 0.3


@pytest.mark.parametrize("style", STYLES)
def test_other_motions_are_visible_in_the_pixels(style: str) -> None:
    bounce = centres(masks(event_of("bouncing"), style))
    assert np.ptp(bounce[:, 1]) > 0.25
    assert np.ptp(bounce[:, 0]) < 0.03
    assert 4 <= (np.diff(np.sign(np.diff(bounce[:, 1]))) != 0).sum() <= 12
    circle = centres(masks(event_of("circling"), style))
    radii = np.hypot(*(circle - (circle.max(axis=0) + circle.min(axis=0)) / 2).T)
    assert radii.min() > 0.1
    assert np.ptp(radii) < 0.05
    spin = masks(event_of("spinning"), style)
    assert np.hypot(*np.ptp(centres(spin), axis=0)) < 0.08
    assert (spin[0] != spin[8]).mean() > 0.02
    for motion, sign in (("growing", 1), ("shrinking", -1)):
        steps = np.diff(masks(event_of(motion), style).sum(axis=(1, 2)))
        assert (sign * steps > 0).sum() >= len(steps) - 3
    frames = render_event(event_of("blinking"), calm(), style, TIMES, SECONDS, SIZE).astype(int)
    empty = render_scenery(Filler("room", None), calm(), style, TIMES, SECONDS, SIZE)
    strength = abs(frames - empty).sum(axis=(1, 2, 3))
    assert strength.min() < 0.2 * strength.max()
    on = strength > strength.max() / 2
    assert 0.4 < on.mean() < 0.6
    assert (np.diff(on.astype(int)) != 0).sum() >= 6


@pytest.mark.parametrize("place", FACTORS["place"])
def test_objects_are_counted_and_large_ones_are_larger(place: str) -> None:
    for count in (1, 2, 3):
        areas = []
        for size in ("small", "large"):
            event = Event("star", "red", size, "rising", place, count)
            regions = masks(event, size=128)
            assert all(objects(mask) == count for mask in regions[::4])
            areas.append(regions.sum(axis=(1, 2)).mean() / count)
        assert areas[1] > 1.8 * areas[0]


@pytest.mark.parametrize("relation", FACTORS["relation"])
def test_the_second_object_is_where_the_relation_says(relation: str) -> None:
    for motion in FACTORS["motion"]:
        event = Event("star", "red", "large", motion, "room", 2, (relation, "circle", "blue"))
        if not is_possible(event):
            continue
        frames = render_event(event, calm(), "flat", TIMES, SECONDS, SIZE).astype(int)
        red = (frames[..., 0] > frames[..., 1] + 90) & (frames[..., 0] > frames[..., 2] + 90)
        blue = (frames[..., 2] > frames[..., 0] + 70) & (frames[..., 2] > frames[..., 1] + 50)
        visible = red.sum(axis=(1, 2)) > 30
        offset = (centres(red[visible]) - centres(blue[visible])) * {
            "above": (0, -1),
            "below": (0, 1),
            "left_of": (-1, 0),
        }.get(relation, (1, 0))
        assert (offset.sum(axis=1) > 0.2).all(), motion


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_shows_in_every_style(style: str, factor: str) -> None:
    """Changing one factor always changes at least 0.6 percent of the pixels of some frame by 20 or more."""
    rng = np.random.default_rng(1)
    checked = 0
    while checked < 12:
        event = sample_event(rng)
        if facts(event)[factor] is None:
            continue
        nuisance = replace(sample_nuisance(rng), noise=0)
        first, second = (
            render_event(e, nuisance, style, TIMES[::2], SECONDS, SIZE).astype(int)
            for e in (event, mutate(event, factor, rng))
        )
        share = (abs(first - second).max(axis=-1) > 20).mean(axis=(1, 2)).max()
        assert share > 0.006, (event, share)
        checked += 1


def test_no_combination_is_impossible_and_mutations_change_one_factor() -> None:
    rng = np.random.default_rng(2)
    changed = []
    for _ in range(4000):
        event = sample_event(rng)
        changed.append(facts(event))
        assert not (event.motion == "spinning" and event.shape in ("circle", "ring"))
        if event.relation is not None:
            assert event.relation[1] != event.shape
            assert event.relation[2] != event.colour
            across = event.relation[0] in ("left_of", "right_of")
            assert event.motion not in (
                ("left_to_right", "right_to_left") if across else ("rising", "falling", "bouncing")
            )
        for factor, value in facts(event).items():
            if value is None:
                with pytest.raises(ValueError, match="does not apply"):
                    mutate(event, factor, rng)
                continue
            mutated = mutate(event, factor, rng)
            assert is_possible(mutated)
            assert [n for n, v in facts(mutated).items() if v != facts(event)[n]] == [factor]
    for factor, values in FACTORS.items():
        shares = {value: np.mean([row[factor] == value for row in changed]) for value in values}
        total = sum(shares.values())
        assert all(share > 0.5 * total / len(values) for share in shares.values()), shares
    assert np.mean([row["relation"] is not None for row in changed]) == pytest.approx(0.4, abs=0.03)


def test_a_frame_depends_only_on_its_time() -> None:
    rng = np.random.default_rng(3)
    for style in STYLES:
        event, nuisance = sample_event(rng), sample_nuisance(rng)
        together = render_event(event, nuisance, style, TIMES, SECONDS, SIZE)
        for i in (0, 7, 31):
            assert np.array_equal(render_event(event, nuisance, style, TIMES[[i]], SECONDS, SIZE)[0], together[i])


@pytest.mark.parametrize("style", STYLES)
def test_size_changes_resolution_only(style: str) -> None:
    event = Event("star", "green", "large", "falling", "desert", 2)
    small = render_event(event, calm(), style, TIMES[:4], SECONDS, 64).astype(float)
    large = render_event(event, calm(), style, TIMES[:4], SECONDS, 256).astype(float)
    pooled = large.reshape(4, 64, 4, 64, 4, 3).mean(axis=(2, 4))
    assert abs(pooled - small).mean() < 7
    assert render_event(event, calm(), style, TIMES[:1], SECONDS, 90).shape == (1, 90, 90, 3)


def test_styles_look_different() -> None:
    assert HELD_OUT_STYLE not in TRAIN_STYLES
    assert len(TRAIN_STYLES) >= 5
    rng = np.random.default_rng(4)
    looks = {s: [] for s in STYLES}
    for _ in range(12):
        event, nuisance = sample_event(rng), replace(sample_nuisance(rng), noise=0)
        for style in STYLES:
            looks[style].append(render_event(event, nuisance, style, [1.0], SECONDS, SIZE)[0].astype(int))
    for i, a in enumerate(STYLES):
        for b in STYLES[i + 1 :]:
            assert abs(np.array(looks[a]) - np.array(looks[b])).mean() > 5, (a, b)


def test_fillers_contain_no_named_shape() -> None:
    rng = np.random.default_rng(5)
    fillers = [sample_filler(rng) for _ in range(200)]
    assert all(f.stranger is None or f.stranger.shape in OTHER_SHAPES for f in fillers)
    assert 60 < sum(f.stranger is None for f in fillers) < 140
    assert render_filler(rng, sample_nuisance(rng), "flat", [0.0, 1.0], 3.0, 48).shape == (2, 48, 48, 3)


@pytest.mark.parametrize("seconds", [10, 10.3, 33, 120, 1200])
@pytest.mark.parametrize("fps", [1, 8, 25])
def test_scripts_cover_their_time(seconds: float, fps: float) -> None:
    for seed in range(8):
        world = sample_world(seed, seconds, "flat", fps=fps)
        assert world.duration == pytest.approx(seconds, abs=0.5 / fps + 1e-9)
        edges = [0.0]
        for segment in world.segments:
            assert segment.span.start == edges[-1]
            assert segment.span.duration >= 2.5 - 1e-9
            assert segment.span.end * fps == pytest.approx(round(segment.span.end * fps), abs=1e-6)
            edges.append(segment.span.end)
            assert (segment.role == "filler") == isinstance(segment.content, Filler)
        assert edges[-1] == world.duration
        captioned = [s for s in world.segments if s.role == "told"]
        assert len(captioned) >= 2
        assert all(s.span.duration <= 6 + 1 / fps for s in captioned)
        assert len(captioned) < len(world.segments)
        for lines in world.paragraphs:
            assert [line.claim.event for line in lines] == [s.content for s in captioned]
        for segment in world.segments:
            if segment.role in ("near", "random"):
                assert segment.content not in [s.content for s in captioned]


def test_caption_spans_are_the_segments_of_their_event() -> None:
    repeats = 0
    for seed in range(40):
        world = sample_world(seed, 60, "flat")
        row = json.loads(json.dumps(world_row(world, 256).to_json()))
        for caption, lines in zip(row["captions"], [*world.paragraphs, *([x] for x in world.singles)], strict=True):
            assert caption["text"] == " ".join(s["text"] for s in caption["sentences"])
            for sentence, line in zip(caption["sentences"], lines, strict=True):
                truth = tuple(s.span for s in world.segments if s.content == line.claim.event)
                assert (sentence["start"], sentence["end"]) == (truth[0].start, truth[0].end)
                assert true_spans(row, sentence["text"].upper().rstrip(".")) == truth
                repeats += len(truth) > 1
    assert repeats > 5
    with pytest.raises(KeyError, match="no caption"):
        true_spans(row, "This is in no caption.")


def digest(world: World) -> str:
    pixels = hashlib.sha256(render_world(world, np.arange(0, world.duration, 0.7), 48).tobytes()).hexdigest()
    return hashlib.sha256((pixels + json.dumps(world_row(world, 256).to_json())).encode()).hexdigest()


def test_rendering_is_the_same_in_another_process() -> None:
    code = "import numpy as np; np.random.seed(int(__import__('os').environ['PYTHONHASHSEED']))\n"
    code += "from tests.worlds.test_writer import *\nprint(digest(sample_world(5, 40, 'neon', index=3)))"
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path])
    digests = set()
    for seed in ("1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        completed = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
        )
        digests.add(completed.stdout.strip())
    digests.add(digest(sample_world(5, 40, "neon", index=3)))
    assert len(digests) == 1
    assert digest(sample_world(5, 40, "neon", index=2)) not in digests
    assert digest(sample_world(6, 40, "neon", index=3)) not in digests


def test_a_style_changes_the_pixels_but_not_the_script() -> None:
    flat, neon = sample_world(5, 40, "flat"), sample_world(5, 40, "neon")
    assert flat.segments == neon.segments
    assert flat.paragraph == neon.paragraph
    assert flat.id != neon.id


def test_frames_at_any_time_equal_those_of_the_stream() -> None:
    world = sample_world(9, 12, "shaded")
    frames = np.concatenate(list(stream_world(world, 48)))
    assert len(frames) == 96
    order = np.random.default_rng(0).permutation(96)
    assert np.array_equal(render_world(world, order / world.fps, 48), frames[order])
    assert render_world(world, [], 48).shape == (0, 48, 48, 3)
    for bad in (-0.1, 12.0):
        with pytest.raises(ValueError, match="times must be"):
            render_world(world, [bad], 48)


def test_a_long_video_streams_in_small_chunks() -> None:
    world = sample_world(9, 1200, "flat", fps=1)
    chunks = [len(chunk) for chunk in stream_world(world, 128)]
    assert sum(chunks) == 1200
    assert max(chunks) * 128 * 128 <= 2**21


def test_files_and_manifest_agree(tmp_path: Path) -> None:
    path = write_worlds(tmp_path / "two", 2, 10, "flat", 4, size=96)
    rows = read_manifest(path)
    again = read_manifest(write_worlds(tmp_path / "one", 1, 10, "flat", 4, size=96))
    assert rows[0] == again[0]
    assert path.read_text().splitlines()[0] == (tmp_path / "one" / "manifest.jsonl").read_text().strip()
    for i, row in enumerate(rows):
        file = path.parent / row.video
        world = sample_world(4, 10, "flat", index=i)
        assert probe(file).duration == pytest.approx(10.0, abs=1e-3)
        starts = [s.span.start for s in world.segments]
        times = np.array([t for start in starts for t in (start, start + 1.0)])
        decoded = read_times(file, times).pixels.astype(int)
        assert abs(decoded - render_world(world, times, 96)).mean() < 6
    assert {r.split for r in rows} == {"train"}
    assert rows[0].source == "worlds"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"style": "rococo"}, "choose one of flat"),
        ({"seconds": 5}, "10 to 1200"),
        ({"seconds": 1201}, "10 to 1200"),
        ({"seconds": float("nan")}, "10 to 1200"),
        ({"videos": 0}, "at least 1"),
        ({"seed": -1}, "0 or more"),
        ({"size": 31}, "even number"),
        ({"size": 97}, "even number"),
        ({"fps": 0}, "fps"),
    ],
)
def test_invalid_requests_raise_before_anything_is_written(tmp_path: Path, wrong: dict[str, object], says: str) -> None:
    request = {"videos": 1, "seconds": 10.0, "style": "flat", "seed": 0} | wrong
    with pytest.raises(UsageError, match=says):
        write_worlds(tmp_path / "out", **request)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_file_at_the_output_path_raises(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write_worlds(tmp_path / "out", 1, 10, "flat", 0)
