"""Retrieval by degree of misalignment: how much a caption describes, and how much of the video no sentence describes.

All degrees are made of the same videos. Each has six described events and a filler, in clips of equal length. At the
degree (k, u) a video is cut to `k` of its described clips and `u` of its other clips, in order, and its caption is
the sentences about the `k` clips. So the two sides vary one at a time: `k` is the length of the caption in sentences,
u / (k + u) the share of frames that no sentence is true of.

Shape legend: V videos, T = (k + u) S samples of a cut video, S samples per clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.common.systems import System, both_ways
from benchmarks.studies.proving_ground.scoring import EncodedGallery, localization, shortlist
from benchmarks.studies.proving_ground.stage import Gallery, ceiling
from mova.worlds.galleries import EVENTS, SAMPLES, Short

CLIPS = EVENTS + 1
DEGREES = tuple((k, u) for k in range(1, CLIPS) for u in range(CLIPS + 1 - k))
"""All (sentences, clips without a sentence)."""
SAME_SHARE = tuple((k, k) for k in range(1, CLIPS // 2 + 1))
"""Degrees at which half of the frames have no sentence, for captions of different lengths."""


def cut(shorts: Sequence[Short], sentences: int, untold: int, seed: int) -> tuple[list[Short], npt.NDArray[np.int64]]:
    """Cut videos of `EVENTS` described events and a filler to a degree.

    The kept clips are drawn per video by the seed. A degree with more sentences, or with more clips without a sentence,
    keeps all that the smaller one keeps.

    Returns:
        The videos of the kept events with shorter captions, and the kept samples (V, T) of each.
    """
    rng = np.random.default_rng(seed)
    videos, kept = [], []
    for short in shorts:
        order = [int(clip) for clip in rng.permutation(len(short.events))]
        told = sorted(order[:sentences])
        others = [len(short.events), *order[: sentences - 1 : -1]][:untold]
        clips = sorted([*told, *others])
        events = tuple(short.events[clip] for clip in clips if clip < len(short.events))
        captioned = tuple(clips.index(clip) for clip in told)
        lines = tuple(short.lines[short.captioned.index(clip)] for clip in told)
        videos.append(replace(short, events=events, captioned=captioned, lines=lines))
        kept.append([clip * SAMPLES + sample for clip in clips for sample in range(SAMPLES)])
    return videos, np.array(kept)


def by_degree(
    system: System, gallery: Gallery, forms: Sequence[str], alphas: Mapping[str, float], seed: int
) -> list[dict[str, Any]]:
    """Measure R@1 of forms (percent, mean of both directions) and sentence-to-frame mAP at every degree.

    Args:
        system: the trained model.
        gallery: videos whose events all have a sentence.
        forms: scoring forms; "A+B" adds B to the ten best by A.
        alphas: weight of B in each form "A+B", from validation.
        seed: draws the kept clips.
    """
    frames = system.frames(gallery.frames)
    rows = []
    for sentences, untold in DEGREES:
        shorts, kept = cut(gallery.shorts, sentences, untold, seed)
        kept = kept[:, :: system.every]
        truth = [truth_of(short, untold > 0)[:, :: system.every] for short in shorts]
        texts = system.texts([short.sentences for short in shorts])
        encoded = EncodedGallery(shorts, frames[np.arange(len(shorts))[:, None], kept], texts)
        found = localization(list(encoded.frames), texts.units, truth) if untold else {}
        rows.append(
            {
                "sentences": sentences,
                "untold": round(untold / (sentences + untold), 4),
                "videos": len(shorts),
                "every fact known": fmean(ceiling(shorts)),
                **{form: fmean(_recall(form, system, encoded, alphas)) for form in forms},
                **{name: found[name] for name in ("sentence to frame, mAP", "chance mAP") if name in found},
            }
        )
    return rows


def truth_of(short: Short, filler: bool) -> npt.NDArray[np.bool_]:
    """Return which samples of a cut video each sentence is true of; only a filler is no event."""
    truth = short.truth()
    return truth if filler else truth[:, :-SAMPLES]


def _recall(form: str, system: System, encoded: EncodedGallery, alphas: Mapping[str, float]) -> tuple[float, float]:
    """Return R@1 in both directions."""
    if "+" not in form:
        return both_ways(system.scores(form, encoded.frames, encoded.texts).double().numpy())
    base, second = form.split("+")
    return shortlist(base, [second], system, encoded).recall(second, alphas[form])


def forms_by_degree(forms: Sequence[str]) -> list[str]:
    """Return the forms of a system to measure: its own, and those of single vectors and of sentences."""
    return list(dict.fromkeys([forms[0], *(form for form in ("global", "relevance", "late") if form in forms)]))
