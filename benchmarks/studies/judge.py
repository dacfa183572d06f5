"""Does a judge find planted faults? One false sentence per paragraph of a Worlds video, of each of the seven kinds.

Scores of faulty sentences are held against those of all sentences of true paragraphs: the AUC is the probability that a
faulty one scores lower. Controls: whether the sentence is shown, without counterfactuals; counterfactuals alone; the
highest cosine of the sentence. For a flip, the score is the probability of the most probable reversed pair. `sketch`
was never trained on.

Shape legend: N sentences.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.common import harness
from mova.data.negatives.kinds import KINDS
from mova.judge.by_similarity import judge_embedding
from mova.judge.order import reversed_pairs
from mova.judge.verdict import SentenceVerdict
from mova.models.embeddings import VideoEmbedding
from mova.models.encoder import DualEncoder
from mova.models.registry import load
from mova.types import Frames
from mova.worlds.negatives import Line, Negative, make_negative, paragraph_text, spans_of
from mova.worlds.script import World, sample_world
from mova.worlds.writer import render_world

STYLES, SEEN = ("flat", "shaded", "sketch"), ("flat", "shaded")
SECONDS, SIZE, WORLDS, QUICK_WORLDS = 60.0, 128, 16, 3
SEEDS = (733_100, 733_200, 733_300)
BINS = 10
LEAST_AUC = 0.9
CLAIMED = ("object", "attribute", "count", "relation", "flip")
SCORES = ("judge", "shown alone", "counterfactuals alone", "highest cosine")


class Case:
    """Scores of the sentences of true paragraphs and of faulty ones, by kind of fault."""

    def __init__(self) -> None:
        self.true: list[dict[str, float]] = []
        self.false: dict[str, list[dict[str, float]]] = defaultdict(list)
        self.found: dict[str, list[bool]] = defaultdict(list)
        self.named: dict[str, list[bool]] = defaultdict(list)
        self.placed: dict[str, list[bool]] = defaultdict(list)
        self.order: list[tuple[bool, float]] = []
        self.findings: list[str] = []


def encode(model: DualEncoder, world: World) -> VideoEmbedding:
    """Render a world at the model's rate and encode it."""
    times = np.arange(0.0, SECONDS, 1 / model.frame_rate)
    return model.encode_video(Frames(render_world(world, times, SIZE), times))


def scores(row: SentenceVerdict, highest: float) -> dict[str, float]:
    """Return the score of a sentence by each method; higher is truer."""
    shown = 1.0 if row.shown is None else row.shown
    return {
        "judge": row.holds,
        "shown alone": shown,
        "counterfactuals alone": row.holds / max(shown, 1e-12),
        "highest cosine": highest,
    }


def judge_world(model: DualEncoder, world: World, case: Case) -> None:
    """Judge the true paragraph of a world and one faulty one of each kind."""
    video, lines = encode(model, world), world.paragraphs[0]
    rng = np.random.default_rng([world.seed, world.index])
    made = [make_negative(lines, kind, rng, world.events) for kind in KINDS]
    for negative in (None, *(n for n in made if n is not None)):
        written = lines if negative is None else negative.lines
        prompt = paragraph_text(written)
        verdict = judge_embedding(model, video, prompt)
        if len(verdict.sentences) != len(written) or verdict.timeline is None:
            raise ValueError(f"{world.id}: {prompt!r} is not split into its sentences")
        highest = [float(row.relevance.max()) for row in verdict.timeline.sentences]
        if negative is None or negative.kind == "flip":
            free = model.align(video, prompt, order="no").sentences
            pairs = reversed_pairs(np.stack([row.posterior for row in free]), [row.shown or 0.0 for row in free])
            case.order.append((negative is not None, float(np.triu(pairs, 1).max())))
        if negative is None:
            case.true += [scores(*pair) for pair in zip(verdict.sentences, highest, strict=True)]
            case.findings += [row.finding for row in verdict.sentences]
        elif negative.kind != "flip":
            add_fault(case, negative, lines, world, verdict.sentences, highest)


def add_fault(
    case: Case,
    negative: Negative,
    lines: Sequence[Line],
    world: World,
    rows: Sequence[SentenceVerdict],
    highest: Sequence[float],
) -> None:
    """Record a faulty paragraph: scores, whether the fault is the least probable sentence, named right, and placed."""
    kind, index = negative.kind, negative.sentence
    row = rows[index]
    case.false[kind].append(scores(row, highest[index]))
    case.found[kind].append(index == int(np.argmin([other.holds for other in rows])))
    if kind != "hallucination":
        change = None if row.contradiction is None else row.contradiction.change
        case.named[kind].append(change is not None and change.kind == kind)
        truth = spans_of(lines[index].claim, world.events)
        best = max(row.spans, key=lambda span: span.posterior or 0.0, default=None)
        case.placed[kind].append(best is not None and any(best.span.iou(span) >= 0.5 for span in truth))


def calibration_error(case: Case) -> float:
    """Return the expected error of `holds` over equally many true and false sentences (weighted), in ten bins."""
    holds = np.array([row["judge"] for row in case.true] + [r["judge"] for rows in case.false.values() for r in rows])
    right = np.arange(len(holds)) < len(case.true)
    weights = np.where(right, 0.5 / right.sum(), 0.5 / (~right).sum())
    bins = np.minimum((holds * BINS).astype(int), BINS - 1)
    gaps = [abs(np.sum(weights[bins == b] * (right[bins == b] - holds[bins == b]))) for b in range(BINS)]
    return float(np.sum(gaps))


def auc(true: Sequence[float], false: Sequence[float]) -> float:
    """Return the probability that a true sentence scores higher than a false one."""
    return float(roc_auc_score([1] * len(true) + [0] * len(false), [*true, *false]))


def report_style(report: harness.Report, style: str, case: Case) -> dict[str, float]:
    """Add the rows of a style, and return the AUC of each kind."""
    found: dict[str, float] = {}
    for kind, rows in case.false.items():
        values = {name: auc([r[name] for r in case.true], [r[name] for r in rows]) for name in SCORES}
        share: dict[str, Any] = {"sentence found": float(np.mean(case.found[kind]))}
        if case.named[kind]:
            share |= {"kind named": float(np.mean(case.named[kind])), "R@0.5": float(np.mean(case.placed[kind]))}
        report.row(style=style, kind=kind, faults=len(rows), true=len(case.true), **values, **share)
        found[kind] = values["judge"]
    reversed_, likely = zip(*case.order, strict=True)
    found["flip"] = float(roc_auc_score(reversed_, likely))
    report.row(
        style=style, kind="flip", faults=sum(reversed_), true=len(reversed_) - sum(reversed_), judge=found["flip"]
    )
    held = float(np.mean([row["judge"] >= 0.5 for row in case.true]))
    report.row(style=style, kind="true sentences that hold", true=len(case.true), judge=held)
    for finding in ("contradicted", "missing", "uncertain"):
        share = {"judge": case.findings.count(finding) / len(case.findings)}
        report.row(style=style, kind=f"true sentences found {finding}", true=len(case.true), **share)
    return found


def main() -> None:
    """Judge all styles."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small form that takes about a minute")
    parser.add_argument("--model", default="mova-worlds-tiny", help="a dual encoder for Worlds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seeds, count = (SEEDS[:1], QUICK_WORLDS) if args.quick else (SEEDS, WORLDS)
    model = load(args.model, device="cpu", precision="fp32")
    report = harness.Report(harness.result_name("judge", args.model), list(seeds))
    for style in STYLES:
        case = Case()
        for seed in seeds:
            for index in range(count):
                judge_world(model, sample_world(seed, SECONDS, style, index=index), case)
        found = report_style(report, style, case)
        error = calibration_error(case)
        for kind in CLAIMED if style in SEEN else ():
            report.claim(f"{style}: AUC of faults, {kind}", round(found[kind], 3), LEAST_AUC, found[kind] >= LEAST_AUC)
        report.claim(f"{style}: calibration error of sentences that hold", round(error, 3), 0.1, error <= 0.1)
    report.finish(None, ("style", "kind", "faults", "true", "judge"))


if __name__ == "__main__":
    main()
