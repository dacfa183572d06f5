"""Clips of a manifest: each once, in bounded groups, times of the file, causes of what is broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mova.data.manifest import Row
from mova.errors import VideoError
from mova.eval.tasks import encoding
from mova.eval.tasks.encoding import decode_rows, encode_groups
from tests.support.fakes import ColourEncoder, write_colours
from tests.support.known import Clips, row


def test_a_clip_that_several_rows_show_is_encoded_once() -> None:
    rows = [row(f"q{i}", "text", video=f"{i % 3}.mp4") for i in range(9)]
    clips, broken, encoded = Clips(broken=["1.mp4"]), {}, []
    groups = list(encode_groups(rows, clips, broken, lambda done, total: encoded.append((done, total))))
    assert clips.asked == ["q0", "q1", "q2"]
    assert [[r.id for r in clip_rows] for group in groups for _, clip_rows in group] == [
        ["q0", "q3", "q6"],
        ["q2", "q5", "q8"],
    ]
    assert broken == dict.fromkeys(("q1", "q4", "q7"), "it is not there")
    assert encoded == [(1, 3), (2, 3), (3, 3)]


def test_groups_are_bounded_by_clips_and_by_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(f"v{i}") for i in range(10)]
    assert [len(group) for group in encode_groups(rows, Clips(), {}, in_flight=4)] == [4, 4, 2]
    monkeypatch.setattr(encoding, "GROUP_FRAMES", 12)
    assert [len(group) for group in encode_groups(rows, Clips(count=5), {}, in_flight=4)] == [3, 3, 3, 1]
    assert not list(encode_groups(rows, Clips(broken=[r.video for r in rows]), {}))


def test_decoding_gives_the_clip_in_seconds_of_the_file(tmp_path: Path) -> None:
    write_colours(tmp_path / "a.mp4", [("red", 2), ("blue", 2), ("green", 2)])
    model = ColourEncoder(rate=4.0)
    encode = decode_rows(model, tmp_path)
    full = encode(Row("a", "a.mp4", None, "test", ()))
    clip = encode(Row("b", "a.mp4", None, "test", (), start=2.0, end=4.0))
    assert len(full.times) == 24
    np.testing.assert_allclose(clip.times, np.arange(2, 4, 0.25))
    np.testing.assert_allclose(clip.frames.numpy(), full.frames.numpy()[8:16], atol=1e-5)
    assert clip.duration == 4.0
    late = encode(Row("c", "a.mp4", None, "test", (), start=5.0, end=9.0))
    assert late.duration == pytest.approx(6.0)
    assert decode_rows(model, tmp_path, fps=2.0)(Row("d", "a.mp4", None, "test", ())).times[1] == 0.5
    with pytest.raises(VideoError, match=r"is only 6\.00 s long"):
        encode(Row("e", "a.mp4", None, "test", (), start=7.0, end=9.0))
    with pytest.raises(VideoError):
        encode(Row("f", "none.mp4", None, "test", ()))
