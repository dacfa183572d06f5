"""Videos cut to a degree of misalignment have that degree, and degrees differ in nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.studies.proving_ground.degrees import CLIPS, DEGREES, cut, truth_of
from benchmarks.studies.proving_ground.degrees_report import claims, mean_degrees
from mova.worlds.captions import holds
from mova.worlds.galleries import EVENTS, SAMPLES, easy_gallery

SHORTS = easy_gallery(np.random.default_rng(3), 5, most=EVENTS, least=EVENTS)


def test_gallery_of_described_videos_has_a_sentence_per_event() -> None:
    assert [len(short.lines) for short in SHORTS] == [EVENTS] * 5


@pytest.mark.parametrize(("sentences", "untold"), DEGREES)
def test_cut_keeps_the_described_clips_and_the_others(sentences: int, untold: int) -> None:
    videos, kept = cut(SHORTS, sentences, untold, seed=1)
    assert kept.shape == (5, (sentences + untold) * SAMPLES)
    for short, video, samples in zip(SHORTS, videos, kept, strict=True):
        assert len(video.lines) == sentences
        assert np.all(np.diff(samples) > 0)
        truth = truth_of(video, untold > 0)
        assert truth.shape == (sentences, len(samples))
        events = [*short.events, None]  # the oracle: facts of the whole video at the kept samples
        for line, row in zip(video.lines, truth, strict=True):
            shown = [events[sample // SAMPLES] for sample in samples]
            assert row.tolist() == [event is not None and holds(event, line.claim) for event in shown]
        assert round(1 - truth.any(axis=0).mean(), 6) <= round(untold / (sentences + untold), 6)


def test_a_higher_degree_keeps_what_a_lower_one_keeps() -> None:
    for untold in range(CLIPS - 2):
        low, high = (cut(SHORTS, 2, u, seed=4)[1] for u in (untold, untold + 1))
        assert all(set(a) < set(b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    first, second = (cut(SHORTS, k, 1, seed=4)[0] for k in (1, 2))
    assert all(set(a.sentences) < set(b.sentences) for a, b in zip(first, second, strict=True))


def run(arm: str, form: str, recall: float, seed: int) -> dict[str, Any]:
    cells = [
        {"sentences": k, "untold": round(u / (k + u), 4), "videos": 5, "every fact known": 100.0, form: recall + seed}
        for k, u in DEGREES
    ]
    return {"arm": arm, "degrees": cells}


def test_report_means_over_seeds_and_compares_arms_that_were_run() -> None:
    runs = [run("CLIP4Clip, mean", "global", 30.0, seed) for seed in (0, 2)]
    row = mean_degrees(runs)[0]
    assert (row["global"], row["spread"], row["sentences"]) == (31.0, 1.0, 1)
    assert claims(runs) == []
    runs += [run("MoVA, subsets", "subsets", 50.0, seed) for seed in (0, 2)]
    assert [round(value, 6) for _, value in claims(runs)] == [20.0, 0.0, 0.0]
