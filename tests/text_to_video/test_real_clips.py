"""SynViTA's data, end to end over real clips: negatives by rule, synthetic videos, weights; real files unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mova.data.manifest import Caption, Row, TimedSentence, read_manifest, write_manifest
from mova.data.negatives.generate import read_triplets
from mova.data.synthetic import synthetic_videos
from mova.utils.hashing import content_hash
from tests.support import tiny_generators, tiny_videollms

pytest.importorskip("diffusers", reason="the extra `t2v` is not installed")
CLIPS = 6


@pytest.mark.slow
def test_real_clips_become_triplets_with_weighted_videos(
    call: Callable[..., tuple[int, str, str]], shared_data: Path, tmp_path: Path
) -> None:
    listed = [json.loads(line) for line in (shared_data / "realclips.jsonl").read_text().splitlines()]
    chosen = sorted(listed, key=lambda clip: clip["duration"])[:CLIPS]
    files = [shared_data / clip["video"] for clip in chosen]
    before = [(content_hash(path), path.stat().st_mtime_ns) for path in files]
    rows = []
    for clip, path in zip(chosen, files, strict=True):
        sentences = tuple(TimedSentence(e["text"], e["start"], e["end"]) for e in clip["events"])
        rows.append(Row(path.stem, str(path), clip["duration"], "train", (Caption(clip["caption"], sentences),)))
    manifest = write_manifest(tmp_path / "real.jsonl", rows)
    assert call("data", "contrast", manifest, tmp_path / "triplets", "--per-caption", 2)[0] == 0

    generator = tiny_generators.build("cogvideox", tmp_path / "generator")
    words = ["--model", generator, "--frames", 9, "--height", 16, "--width", 16, "--steps", 1, "--dtype", "fp32"]
    code, printed, _ = call(
        "data", "synthesize", tmp_path / "triplets" / "manifest.jsonl", tmp_path / "synthetic", *words, "--json"
    )
    report = json.loads(printed)
    assert (code, report["failed"]) == (0, [])
    assert report["made"] == report["captions"] >= CLIPS

    vqa = [tiny_videollms.build(kind, tmp_path / kind) for kind in ("llava_onevision", "internvl")]
    code, printed, _ = call(
        *("data", "weights", tmp_path / "synthetic" / "manifest.jsonl", tmp_path / "weighted", "--json"),
        *("--vqa", vqa[0], "--vqa", vqa[1], "--precision", "fp32", "--plot", tmp_path / "fig2.png"),
    )
    weighed = json.loads(printed)
    assert (code, weighed["videos"], weighed["broken"]) == (0, report["made"], [])
    final = read_manifest(tmp_path / "weighted" / "manifest.jsonl")
    triplets = read_triplets(final)
    assert len(triplets) == report["made"]
    for row, triplet in zip(final, triplets, strict=True):
        (video,) = synthetic_videos(row)
        assert video.text == triplet.negative.text
        assert video.misalignment == triplet.negative.kind
        assert video.weight == pytest.approx(max(0.0, video.weighing["own"] - video.weighing["other"]))
        assert (tmp_path / "weighted" / video.video).is_file()
        assert (tmp_path / "weighted" / row.video).is_file()
    assert [(content_hash(path), path.stat().st_mtime_ns) for path in files] == before
