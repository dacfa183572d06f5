"""How exact are the bounds of moments that are found on windows of several frames?

A window's vector is the mean of the unit frame vectors of `mova-worlds-tiny` (2 frames per second) in it, the simplest
encoder of windows. The queries are the sentences of held-out Worlds of 40 s whose best peak overlaps an annotated span.
Five answers are compared: the best window itself, as services answer that store chunks; the peak on the cells of the
windows (`mova.scoring.windows.rule`); its bounds at half the height above its surroundings, on the same cells
("local"); the same on the deconvolved curve (`mova.scoring.windows.deconvolution`); and the peak on single frames,
which is what a picture encoder of the same kind gives. The error is the mean distance of both
bounds from the true ones.

The same is measured on curves of a single event in noise. The smoothness was chosen on other Worlds and other curves
("development"), by the mean of the mean IoU on both, at strides of a half and a quarter of a window.

Shape legend: T frames, W windows, d width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.common import harness
from mova.eval.tasks.worlds import encode_worlds
from mova.models.encoder import DualEncoder
from mova.models.registry import load
from mova.scoring.spans import peaks
from mova.scoring.windows.deconvolution import SMOOTHNESS, FineCurve, deconvolve, sharpened
from mova.scoring.windows.rule import cell_starts
from mova.types import ScoredSpan, Span
from mova.worlds.render import TRAIN_STYLES

WINDOWS = (8, 16)
"""Frames per window: 4 and 8 s."""
SHARES = (1, 2, 4)
"""Strides per window."""
SMOOTHING = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
DEVELOPMENT = 50_000
NOISE = (0.0, 0.05, 0.1)
_F64 = npt.NDArray[np.float64]


class Case(NamedTuple):
    """A sentence in a video: its relevance to frames (T,), frame vectors (T, d), text (d,), times, and true spans."""

    frames: _F64
    text: _F64
    times: _F64
    duration: float
    truth: Sequence[Span]


class Answer(NamedTuple):
    """Mean distance of both bounds in seconds, and IoU."""

    error: float
    iou: float


@torch.no_grad()
def cases_of(model: DualEncoder, seed: int, worlds: int) -> list[Case]:
    """Return all sentences of some held-out Worlds."""
    cases = []
    for item in encode_worlds(model, TRAIN_STYLES, seed, worlds):
        texts = model.encode_text([text for text, _ in item.world.annotations]).unit_vectors().astype(np.float64)
        frames = item.frames.numpy().astype(np.float64)
        place = (item.times, item.world.duration)
        truths = [spans for _, spans in item.world.annotations]
        cases += [Case(frames, text, *place, truth) for text, truth in zip(texts, truths, strict=True)]
    return cases


def cut(case: Case, size: int, stride: int) -> tuple[_F64, _F64]:
    """Return the windows (W, 2) of a case in seconds, and the relevance (W,) of their mean vectors."""
    count = len(case.frames)
    first = np.arange(0, count - size + 1, stride)
    if first[-1] + size < count:
        first = np.append(first, count - size)
    after = np.append(case.times[1:], case.duration)
    vectors = np.stack([case.frames[k : k + size].mean(axis=0) for k in first])
    curve = vectors @ case.text / np.linalg.norm(vectors, axis=1)
    return np.stack([case.times[first], after[first + size - 1]], axis=1), curve


def answer(span: Span, truth: Sequence[Span]) -> Answer:
    """Return the distance of a span from the true one that it overlaps most."""
    best = max(truth, key=span.iou)
    return Answer((abs(span.start - best.start) + abs(span.end - best.end)) / 2, span.iou(best))


def sharp(found: ScoredSpan, windows: _F64, curve: _F64, smoothness: float) -> Span:
    """Return the bounds of a span after deconvolution."""
    length = float(np.median(windows[:, 1] - windows[:, 0]))
    return sharpened([found], deconvolve(curve, windows, smoothness), length)[0].span


def local(found: ScoredSpan, windows: _F64, curve: _F64) -> Span:
    """Return the bounds of a span by the same rule as `sharp`, without deconvolution."""
    cells = FineCurve(np.append(cell_starts(windows), windows[-1, 1]), curve, np.ones(len(curve), dtype=bool))
    return sharpened([found], cells, float(np.median(windows[:, 1] - windows[:, 0])))[0].span


def of_worlds(cases: Sequence[Case], size: int, stride: int) -> Iterator[dict[str, Answer]]:
    """Yield the answers of every form to the sentences whose peaks on cells overlap an annotated span."""
    for case in cases:
        windows, curve = cut(case, size, stride)
        found = peaks(curve, cell_starts(windows), case.duration, 1)[0]
        if not any(found.span.intersection(span) for span in case.truth):
            continue
        best = windows[curve.argmax()]
        framed = peaks(case.frames @ case.text, case.times, case.duration, 1)[0]
        spans = {
            "best window": Span(float(best[0]), float(best[1])),
            "cells": found.span,
            "local": local(found, windows, curve),
            "deconvolved": sharp(found, windows, curve, SMOOTHNESS),
            "frames": framed.span,
        }
        yield {name: answer(span, case.truth) for name, span in spans.items()}


def events(rng: np.random.Generator, stride: float, noise: float, count: int) -> Iterator[tuple[Span, _F64, _F64]]:
    """Yield events of 2 to 20 s in 96 s, windows (W, 2) of 8 s, and the relevance (W,) of the windows."""
    starts = np.arange(0.0, 96 - 8 + 1e-9, stride)
    windows = np.stack([starts, starts + 8], axis=1)
    for _ in range(count):
        start = rng.uniform(12, 60)
        event = Span(start, start + rng.uniform(2, 20))
        shared = np.minimum(windows[:, 1], event.end) - np.maximum(windows[:, 0], event.start)
        yield event, windows, np.maximum(shared, 0) / 8 + noise * rng.normal(size=len(windows))


def of_curves(rng: np.random.Generator, stride: float, noise: float, count: int) -> Iterator[dict[str, Answer]]:
    """Yield the answers for curves of one event in noise."""
    for event, windows, curve in events(rng, stride, noise, count):
        found = peaks(curve, cell_starts(windows), 96.0, 1)[0]
        best = windows[curve.argmax()]
        spans = {
            "best window": Span(float(best[0]), float(best[1])),
            "cells": found.span,
            "local": local(found, windows, curve),
            "deconvolved": sharp(found, windows, curve, SMOOTHNESS),
        }
        yield {name: answer(span, [event]) for name, span in spans.items()}


def development(cases: Sequence[Case], curves: int) -> Iterator[dict[str, float]]:
    """Yield for each smoothness the mean IoU on Worlds and on noisy curves, at both strides that overlap."""
    seen = [
        (case.duration, case.truth, *cut(case, n, n // share)) for case in cases for n in WINDOWS for share in (2, 4)
    ]
    rng = np.random.default_rng(DEVELOPMENT)
    made = [(96.0, [event], *rest) for share in (2, 4) for event, *rest in events(rng, 8 / share, 0.05, curves)]
    for smoothness in SMOOTHING:
        row = {"smoothness": smoothness}
        for name, films in (("Worlds", seen), ("curves", made)):
            ious = []
            for duration, truth, windows, curve in films:
                found = peaks(curve, cell_starts(windows), duration, 1)[0]
                if any(found.span.intersection(span) for span in truth):
                    ious.append(answer(sharp(found, windows, curve, smoothness), truth).iou)
            row[name] = float(np.mean(ious))
        yield row


def main() -> None:
    """Measure all forms."""
    parser = harness.runs_parser(__doc__)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, seeds = load("mova-worlds-tiny", device="cpu"), harness.seeds_of(args)
    worlds, curves = (4, 50) if args.quick else (30, 200)
    report = harness.Report("windows", seeds)
    for row in development(cases_of(model, DEVELOPMENT, worlds), curves):
        report.row(name="development", **row)
    errors: dict[tuple[str, int, int, str], list[float]] = {}
    ious: dict[tuple[str, int, int, str], list[float]] = {}

    def note(key: tuple[str, int, int], answers: Sequence[dict[str, Answer]]) -> None:
        for form in answers[0]:
            errors.setdefault((*key, form), []).append(float(np.mean([a[form].error for a in answers])))
            ious.setdefault((*key, form), []).append(float(np.mean([a[form].iou for a in answers])))

    for seed in seeds:
        cases = cases_of(model, 2 * DEVELOPMENT + seed, worlds)
        for share in SHARES:
            for size in WINDOWS:
                note(("Worlds", size // 2, share), list(of_worlds(cases, size, size // share)))
            for noise in NOISE:
                rng = np.random.default_rng([seed, share, round(100 * noise)])
                note((f"curves, noise {noise:g}", 8, share), list(of_curves(rng, 8 / share, noise, curves)))
    for key, values in errors.items():
        name, length, share, form = key
        place = {"name": name, "window": length, "stride": length / share, "form": form}
        report.row(**place, error=float(np.mean(values)), IoU=float(np.mean(ious[key])))
    for length in (size // 2 for size in WINDOWS):
        for share in SHARES[1:]:
            where = f"Worlds, windows of {length} s every {length / share:g} s"
            for other in ("cells", "local", "best window"):
                keys = [("Worlds", length, share, form) for form in (other, "deconvolved")]
                before, after = (float(np.mean(errors[key])) for key in keys)
                report.claim(f"{where}: error of bounds, deconvolved below {other}", after, before, after < before)
    report.finish(columns=("name", "window", "stride", "form", "error", "IoU"))


if __name__ == "__main__":
    main()
