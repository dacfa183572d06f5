"""Alignment of captions: all sentences together, beside independent thresholds, Drop-DTW and equal parts.

Worlds of seeds that neither training nor the choice of weights used, in two styles of training and in one that was
never trained on, 60 and 630 seconds long. Also with captions out of order, and with half of the sentences foreign.
`--clips` measures described clips of natural footage instead.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.common import harness
from benchmarks.common.alignments import Case, Tally
from mova.models.background_captions import encode_background, relevance_threshold
from mova.models.embeddings import VideoEmbedding
from mova.models.encoder import DualEncoder
from mova.models.registry import load
from mova.scoring.alignment import Alignment, align_curves, align_jointly
from mova.scoring.decoders import equal_parts, mask_spans
from mova.scoring.dtw import DROP_QUANTILE, drop_dtw, dtw
from mova.scoring.similarity import cosine
from mova.types import Frames, Span
from mova.worlds.render import HELD_OUT_STYLE
from mova.worlds.script import World, sample_world
from mova.worlds.writer import render_world, world_row

SEED = 960_001
STYLES = ("flat", "shaded", HELD_OUT_STYLE)
LENGTHS = {60.0: 7, 630.0: 4}
"""Seconds of a video, and videos per style and seed."""
SEEDS = 12
"""Enough sentences that calibration can be measured: all frames of one are right or wrong together."""
SIDE, CHUNK = 64, 64
Results = dict[tuple[str, float], dict[str, Tally]]
"""Style and seconds -> method -> measures."""
TARGETS = {"flat": (0.84, 0.75), "shaded": (0.84, 0.75), HELD_OUT_STYLE: (0.65, 0.60)}
"""R@0.5 and frame F1 at 630 s."""


@torch.inference_mode()
def worlds(
    model: DualEncoder, seed: int, seconds: float, style: str, count: int, folder: Path | None = None
) -> list[Case]:
    """Render and encode Worlds; their vectors are kept in the folder, if there is one."""
    cases = []
    for index in range(count):
        world = sample_world(seed, seconds, style, index=index, fps=8.0)
        row = world_row(world, SIDE)
        times = np.arange(int(seconds * model.frame_rate)) / model.frame_rate
        frames = _vectors(model, world, times, folder)
        texts = tuple(sentence.text for sentence in row.captions[0].sentences)
        truth = tuple(tuple(Span(a, b) for a, b in spans) for spans in row.meta["spans"][0])
        cases.append(Case(frames, times, seconds, texts, model.encode_text(texts).pooled, truth))
    return cases


def _vectors(model: DualEncoder, world: World, times: npt.NDArray[np.float64], folder: Path | None) -> torch.Tensor:
    kept = folder and folder / model.fingerprint() / f"{world.id}-{world.duration:.0f}.pt"
    if kept and kept.exists():
        vectors: torch.Tensor = torch.load(kept)
        return vectors
    parts = (times[i : i + CHUNK] for i in range(0, len(times), CHUNK))
    chunks = (Frames(render_world(world, part, SIDE), part) for part in parts)
    frames = torch.cat([vectors for _, vectors in model.encode_stream(chunks)])
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(frames, part := kept.with_suffix(f".{os.getpid()}"))
        part.rename(kept)
    return frames


@torch.inference_mode()
def clips(model: DualEncoder, manifest: Path) -> Iterator[Case]:
    """Encode described clips: one JSON row per clip with `video` and `events` of `text`, `start`, `end`."""
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        if len(row["events"]) > 1:
            video = model.encode_video(manifest.parent / row["video"])
            texts = tuple(event["text"] for event in row["events"])
            truth = tuple((Span(event["start"], event["end"]),) for event in row["events"])
            yield Case(video.frames, video.times, video.duration, texts, model.encode_text(texts).pooled, truth)


def jointly(model: DualEncoder, case: Case, order: Any = "auto") -> Alignment:
    """Align a case as `model.align` does."""
    return align_jointly(
        case.vectors,
        case.frames,
        case.times,
        case.duration,
        model.alignment,
        background=encode_background(model),
        sentences=case.sentences,
        order=order,
    )


def threshold(model: DualEncoder, case: Case) -> float:
    """Return the cosine from which a frame shows a sentence."""
    return relevance_threshold(model, VideoEmbedding(case.frames, case.times, case.duration))


def thresholds(model: DualEncoder, case: Case) -> Alignment:
    """Align each sentence on its own."""
    return align_curves(case.vectors, case.frames, case.times, case.duration, threshold(model, case))


def measure(model: DualEncoder, cases: list[Case], tallies: dict[str, Tally], rng: np.random.Generator) -> None:
    """Count every method on all cases."""
    for i, case in enumerate(cases):
        shuffled = case.reordered(rng.permutation(len(case.sentences)).tolist())
        mixed = case.with_foreign([*cases[:i], *cases[i + 1 :]], rng)
        for name, item in (("joint", case), ("joint, shuffled", shuffled), ("joint, half foreign", mixed)):
            result = jointly(model, item)
            tallies[name].add(item, result.spans, result.posterior, result.shown)
        tallies["joint, order no"].add(case, jointly(model, case, "no").spans)
        tallies["thresholds"].add(case, thresholds(model, case).spans)
        tallies["equal parts"].add(case, equal_parts(len(case.sentences), case.duration))
        costs = 1 - cosine(case.vectors, case.frames).double().numpy()
        drops = {
            "Drop-DTW": float(np.quantile(costs, DROP_QUANTILE)),
            "Drop-DTW, threshold": 1 - threshold(model, case),
        }
        if len(case.times) >= len(case.sentences):
            tallies["DTW"].add(case, mask_spans(dtw(costs), case.times, case.duration))
            for name, drop in drops.items():
                tallies[name].add(case, mask_spans(drop_dtw(costs, drop), case.times, case.duration))


def claims(report: harness.Report, results: Results) -> None:
    """State the targets."""

    def claim(name: str, value: float, bound: float, at_most: bool = False) -> None:
        report.claim(name, round(value, 3), bound, value <= bound if at_most else value >= bound)

    for (style, seconds), tallies in results.items():
        where = f"{style}, {seconds:.0f} s"
        rows = {name: tally.row() for name, tally in tallies.items()}
        if seconds > 100 and style in TARGETS:
            for measure_name, bound in zip(("R@0.5", "frame F1"), TARGETS[style], strict=True):
                claim(f"{where}: {measure_name}", rows["joint"][measure_name], bound)
        claim(f"{where}: spans per sentence", rows["joint"]["spans per sentence"], 1.3, True)
        for other in ("thresholds", "DTW", "Drop-DTW", "Drop-DTW, threshold", "equal parts"):
            claim(f"{where}: R@0.5 minus that of {other}", rows["joint"]["R@0.5"] - rows[other]["R@0.5"], 0.0)
        shuffled = rows["joint, shuffled"]["R@0.5"] - rows["thresholds"]["R@0.5"]
        claim(f"{where}: shuffled, R@0.5 minus that of thresholds", shuffled, 0.0)
        claim(f"{where}: half foreign, AUC of absent sentences", tallies["joint, half foreign"].absent_auc(), 0.95)
        claim(f"{where}: calibration error, all pairs", tallies["joint"].calibration_error(), 0.05, True)
        error, most = tallies["joint"].calibration_error(0.05), tallies["joint"].calibrated_forecast(0.05)[1]
        claim(f"{where}: calibration error, posteriors from 0.05", error, 0.05, True)
        claim(f"{where}: the same, at most that of 95 % of calibrated forecasts", error, round(most, 3), True)


def run(seed: int, args: argparse.Namespace) -> Results:
    """Measure all videos of one seed."""
    torch.set_num_threads(1)
    model, rng = load(args.model), np.random.default_rng(SEED + seed)
    results: dict[tuple[str, float], dict[str, Tally]] = defaultdict(partial(defaultdict, Tally))
    if args.clips is not None:
        measure(model, list(clips(model, args.clips)), results["clips", 0.0], rng)
        return results
    for seconds, count in LENGTHS.items():
        for style in STYLES:
            offset = 10 if seconds > 100 else 0
            cases = worlds(model, SEED + seed + offset, seconds, style, count, args.folder)
            measure(model, cases, results[style, seconds], rng)
        if args.quick:
            break
    return results


def main() -> None:
    """Measure Worlds, or clips."""
    parser = harness.plain_parser(__doc__)
    parser.add_argument("--model", default="mova-worlds-tiny", help="model to measure")
    parser.add_argument("--clips", type=Path, default=None, help="manifest of described clips (default: Worlds)")
    parser.add_argument("--folder", type=Path, default=None, help="keep the vectors of rendered videos here")
    parser.add_argument("--workers", type=int, default=1, help="seeds that are measured at once")
    args = parser.parse_args()
    seeds = [args.seed] if args.quick or args.clips else list(range(args.seed, args.seed + SEEDS))
    name = "alignment-clips" if args.clips else harness.result_name("alignment", args.model)
    report = harness.Report(name, seeds)
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        parts = [*pool.map(partial(run, args=args), seeds)]
    results = parts[0]
    for part in parts[1:]:
        for place, tallies in part.items():
            for name, tally in tallies.items():
                results[place][name].extend(tally)
    for (style, seconds), tallies in results.items():
        for name, tally in tallies.items():
            figures: dict[str, float] = tally.row()
            if tally.posteriors:
                expected = tally.calibrated_forecast(0.05)[0]
                figures["calibration error"] = round(tally.calibration_error(0.05), 3)
                figures["of a calibrated forecast"] = round(expected, 3)
            if name == "joint, half foreign":
                absent, wrongly = tally.reported_absent()
                figures |= {"foreign, reported absent": round(absent, 3), "shown, reported absent": round(wrongly, 3)}
            report.row(style=style, seconds=seconds, method=name, sentences=len(tally.overlaps), **figures)
    claims(report, results)
    report.finish()


if __name__ == "__main__":
    main()
