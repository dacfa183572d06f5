"""Rendering captions as videos: orders and seeds, output of any pipeline, interruption at any time, provenance."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mova.data.manifest import Caption, Row, read_manifest, rebased, write_manifest
from mova.data.synthetic import Synthetic, render_requests, synthetic_videos, with_added_videos
from mova.errors import DataError, ModelError, MovaError, UsageError
from mova.text_to_video.output_frames import to_pixels
from mova.text_to_video.render import GIVE_UP, render
from mova.video.probe import probe
from mova.video.reader import stream
from tests.support.plain_generator import ROWS, Plain


def test_orders_identify_row_and_caption() -> None:
    negatives = render_requests(ROWS, "negative", 2)
    assert [(o.row, o.text, o.index, o.misalignment, o.of) for o in negatives] == [
        ("v1/action", "a man sits", 0, "action", "v1"),
        ("v1/action", "a man sits", 1, "action", "v1"),
        ("v2", "a cat", 0, None, "v2"),
        ("v2", "a cat", 1, None, "v2"),
    ]
    assert [o.text for o in render_requests(ROWS, "positive")] == ["a man runs", "a dog", "a red dog"]
    assert len(render_requests(ROWS, "all")) == 5
    with pytest.raises(UsageError, match="negative, positive, all"):
        render_requests(ROWS, "false")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="contrast"):
        render_requests([Row("x", "x.mp4", 1.0, "train", (Caption("x"),))])
    with pytest.raises(DataError, match="negative 0 has no text"):
        render_requests([Row("x", "x.mp4", 1.0, "train", (), meta={"negatives": [{}]})])


def test_seeds_depend_only_on_seed_row_caption_and_index() -> None:
    few, many = render_requests(ROWS, "all", 1), render_requests(list(reversed(ROWS)), "all", 3)
    seeds = {(o.row, o.role, o.place, o.index): o.seed(7) for o in many}
    assert all(seeds[o.row, o.role, o.place, o.index] == o.seed(7) for o in few)
    assert len(set(seeds.values())) == len(seeds) == 15
    assert few[0].seed(7) != few[0].seed(8)
    assert max(seeds.values()) < 2**48


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: {"frames": x[None]},
        lambda x: {"frames": torch.from_numpy(x)[None].permute(0, 1, 4, 2, 3)},
        lambda x: {"videos": torch.from_numpy(x)[None].permute(0, 4, 1, 2, 3).to(torch.float64)},
        lambda x: {"frames": [list(x)]},
        lambda x: {"video": x * 2 - 1},
        lambda x: {"frames": (x * 255).astype(np.uint8)[None]},
        lambda x: {"images": x * 255.0},
        lambda x: {"frames": [[Image.fromarray((f * 255).astype(np.uint8)) for f in x]]},
    ],
)
def test_every_output_format_gives_the_same_bytes(wrap: Callable[[Any], dict[str, Any]]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3)).astype(np.float32)
    values[0, 0, 0], values[0, 0, 1] = 0, 255
    output = type("Output", (), wrap(values / 255))()
    assert np.array_equal(to_pixels(output), values.astype(np.uint8))
    content = next(iter(wrap(values / 255).values()))
    assert np.array_equal(to_pixels((content, None)), values.astype(np.uint8))


def test_output_that_is_not_a_video_raises() -> None:
    for wrong, message in (
        (np.full((1, 2, 4, 4, 3), np.nan), "not finite"),
        (np.zeros((2, 2, 4, 4, 3)), "not one video"),
        (np.zeros((1, 2, 4, 4, 2)), "3 color channels"),
        (np.full((1, 2, 4, 4, 3), 1e4), "not a color range"),
        ([np.zeros((4, 4, 3)), np.zeros((5, 4, 3))], "different shapes"),
    ):
        with pytest.raises(ModelError, match=message):
            to_pixels((wrong,))
    with pytest.raises(ModelError, match="contains no frames"):
        to_pixels(None)


def test_a_run_resumes_and_reports_failures(tmp_path: Path) -> None:
    requests = render_requests(ROWS, "all", 2)
    generator = Plain()
    first = render(requests[:3], generator, tmp_path, seed=1)
    assert (first.made, first.kept) == (3, 0)
    result = render(requests, generator, tmp_path, seed=1, versions={"x": "1"})
    assert (result.made, result.kept, result.untried) == (3, 3, 0)
    assert [cause for _, _, cause in result.failed] == ["out of memory"] * 4
    assert generator.asked.count("a man sits") == 2
    videos = result.videos["v1/action"]
    assert [(v.role, v.index, v.misalignment) for v in videos] == [
        ("negative", 0, "action"),
        ("negative", 1, "action"),
        ("positive", 0, None),
        ("positive", 1, None),
    ]
    assert [v.seed for v in videos] == [o.seed(1) for o in requests[:4]]
    assert videos[0].generator["model"] == "plain"
    assert videos[3].generator["versions"] == {"x": "1"}
    assert abs(probe(videos[0].video).duration - videos[0].duration) < 0.01
    pixels = np.concatenate([f.pixels for f in stream(videos[0].video, fps=None)]).astype(float)
    assert pixels.shape == (3, 16, 16, 3)
    again = render(requests, Plain("other"), tmp_path, seed=1)
    assert (again.made, again.kept) == (6, 0)


def test_a_damaged_record_renders_the_video_again(tmp_path: Path) -> None:
    requests = render_requests(ROWS)
    video = Path(render(requests, Plain(), tmp_path).videos["v2"][0].video)
    video.with_suffix(".json").write_text("{")
    (video.parent / ".half.mp4.1.part").write_text("")
    result = render(requests, Plain(), tmp_path)
    assert (result.made, result.kept) == (1, 1)
    assert len(list(video.parent.iterdir())) == 4


def test_a_run_stops_if_every_video_fails(tmp_path: Path) -> None:
    rows = [Row(str(i), "a.mp4", 1.0, "train", (Caption("a dog"),)) for i in range(GIVE_UP + 3)]
    result = render(render_requests(rows, "positive"), Plain(), tmp_path)
    assert (len(result.failed), result.untried, result.videos) == (GIVE_UP, 3, {})


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import mova.text_to_video.render as generate
from tests.support.plain_generator import ROWS, Plain
from mova.data.synthetic import render_requests
real, count = generate.write_mp4, 0
def write(path, frames, **options):
    global count
    count += 1
    if count == 3:
        path.with_name("." + path.name + ".1.part").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, frames, **options)
generate.write_mp4 = write
generate.render(render_requests(ROWS, "negative", 2), Plain(), {folder!r})
"""


def test_after_a_kill_only_the_missing_videos_are_rendered(tmp_path: Path) -> None:
    code = KILLED.format(tests=str(Path(__file__).resolve().parents[2]), folder=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    finished = sorted((tmp_path / "videos").glob("*.mp4"))
    assert len([path for path in finished if not path.name.startswith(".")]) == 2
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    result = render(render_requests(ROWS, "negative", 2), Plain(), tmp_path)
    assert (result.made, result.kept) == (2, 2)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert sorted(path.suffix for path in (tmp_path / "videos").iterdir()) == [".json"] * 4 + [".mp4"] * 4


def test_two_processes_do_not_render_into_one_folder(tmp_path: Path) -> None:
    from mova.utils.file_lock import sole_writer

    with sole_writer(tmp_path), pytest.raises(MovaError, match="another process"):
        render(render_requests(ROWS), Plain(), tmp_path)


def test_synthetic_videos_stay_valid_when_a_manifest_moves_and_are_merged(tmp_path: Path) -> None:
    made = render(render_requests(ROWS), Plain(), tmp_path).videos
    rows = with_added_videos(ROWS, made)
    path = write_manifest(tmp_path / "manifest.jsonl", rows)
    assert [synthetic_videos(row) for row in read_manifest(path)] == [made["v1/action"], made["v2"]]
    assert with_added_videos(rows, made) == rows
    away = rebased(rows[0], tmp_path, tmp_path / "deep")
    assert away.video == str(tmp_path / "a.mp4")
    near = with_added_videos(ROWS, {"v2": [Synthetic("x.mp4", "a cat", "negative", 0, 0, 1.0)]})[1]
    assert synthetic_videos(rebased(near, tmp_path, tmp_path / "deep"))[0].video == str(tmp_path / "x.mp4")
    added = Synthetic("x.mp4", "a man sits", "negative", 0, 0, 1.0, generator={"model": "lavie"})
    assert [v.generator["model"] for v in synthetic_videos(with_added_videos(rows, {"v2": [added]})[1])] == [
        "plain",
        "lavie",
    ]
    for wrong in ("x", {"video": "x"}, {**added.to_json(), "role": "maybe"}, {**added.to_json(), "colour": 1}):
        with pytest.raises(DataError):
            Synthetic.from_json(json.loads(json.dumps(wrong)))
