"""Does a judge find faults planted in descriptions of real clips? One change per paragraph, by rule, of each kind.

A faulty sentence is held against all sentences of the true paragraphs of 32 described clips: the AUC is the probability
that it scores lower, with an interval by bootstrap over clips. Controls: the highest cosine of the sentence; the true
paragraph of another clip, all of whose sentences are false here.

The clips are looked for where `natural.py` looks. Any model: `python -m benchmarks.studies.judge_real --model NAME`.

Shape legend: N sentences.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.common import harness
from benchmarks.studies.natural import MODEL, Clip, read_clips
from mova.data.manifest import Caption, Row
from mova.data.negatives.generate import generate_negatives
from mova.data.negatives.kinds import KINDS
from mova.judge.by_similarity import judge_embedding
from mova.judge.verdict import Verdict
from mova.models.registry import load
from mova.text.units import sentences_or_windows

DRAWS = 2000
OTHER = "paragraph of another clip"
LEAST_OTHER = 0.9


class Sentence(NamedTuple):
    """A judged sentence: its clip, the judge's probability, its highest cosine, and the judge's finding."""

    clip: int
    holds: float
    cosine: float
    finding: str


def faults(row: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Return kind -> faulty paragraph and index of the sentence that was changed, where exactly one was."""
    captions = (Caption(row["caption"]), *(Caption(event["text"]) for event in row["events"]))
    triplets, _ = generate_negatives([Row(row["video"], row["video"], None, "test", captions)])
    true = sentences_or_windows(row["caption"])
    found = {}
    for triplet in triplets:
        if triplet.positive != row["caption"]:
            continue
        changed = sentences_or_windows(triplet.negative.text)
        different = [i for i, pair in enumerate(zip(true, changed, strict=False)) if pair[0] != pair[1]]
        if len(changed) == len(true) and len(different) == 1:
            found[triplet.negative.kind] = triplet.negative.text, different[0]
    return found


def sentences(clip: int, verdict: Verdict) -> list[Sentence]:
    """Return the sentences of a verdict."""
    assert verdict.timeline is not None
    pairs = zip(verdict.sentences, verdict.timeline.sentences, strict=True)
    return [Sentence(clip, row.holds, float(curve.relevance.max()), row.finding) for row, curve in pairs]


def interval(statistic: Callable[[Any], float], clips: int, seed: int) -> tuple[float, float]:
    """Return the 95 % interval of a statistic of clip counts (clips,) by bootstrap over clips."""
    rng = np.random.default_rng(seed)
    drawn = [statistic(np.bincount(rng.integers(0, clips, clips), minlength=clips)) for _ in range(DRAWS)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def auc(true: Sequence[Sentence], false: Sequence[Sentence], field: str, counts: Any) -> float:
    """Return the probability that a true sentence scores higher, with each clip counted `counts` times."""
    values = [getattr(row, field) for row in (*true, *false)]
    weights = np.array([counts[row.clip] for row in (*true, *false)], dtype=float)
    labels = np.array([1] * len(true) + [0] * len(false))
    if not weights[labels == 1].any() or not weights[labels == 0].any():
        return float("nan")
    return float(roc_auc_score(labels, values, sample_weight=weights))


def judge_clips(model: Any, clips: Sequence[Clip]) -> tuple[list[Sentence], dict[str, list[Sentence]]]:
    """Return the sentences of true paragraphs, and the faulty ones by kind."""
    true: list[Sentence] = []
    false: dict[str, list[Sentence]] = defaultdict(list)
    for number, clip in enumerate(clips):
        true += sentences(number, judge_embedding(model, clip.video, clip.row["caption"]))
        for kind, (text, index) in faults(clip.row).items():
            false[kind].append(sentences(number, judge_embedding(model, clip.video, text))[index])
        other = clips[(number + 1) % len(clips)].row["caption"]
        false[OTHER] += sentences(number, judge_embedding(model, clip.video, other))
    return true, false


def main() -> None:
    """Judge all clips."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small form that takes about a minute")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--folder", type=Path, default=None, help="keep encodings here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load(args.model, device="cpu", precision="fp32")
    clips, _ = read_clips(model, args.quick, args.folder)
    true, false = judge_clips(model, clips)
    report = harness.Report("judge_real", [args.seed])
    everyone = np.ones(len(clips), dtype=int)
    for kind in (*KINDS, OTHER):
        rows = false.get(kind, [])
        if not rows:
            continue
        low, high = interval(lambda counts, rows=rows: auc(true, rows, "holds", counts), len(clips), args.seed)  # type: ignore[misc]
        report.row(
            kind=kind, faults=len(rows), true=len(true), judge=auc(true, rows, "holds", everyone), low=low, high=high,
            cosine=auc(true, rows, "cosine", everyone),
            contradicted=float(np.mean([row.finding == "contradicted" for row in rows])),
        )  # fmt: skip
    shares = {name: float(np.mean([row.finding == name for row in true])) for name in ("shown", "contradicted")}
    report.row(kind="true sentences", true=len(true), **shares)
    found = auc(true, false[OTHER], "holds", everyone)
    report.claim("AUC of the sentences of other clips", round(found, 3), LEAST_OTHER, found >= LEAST_OTHER)
    report.finish(None, ("kind", "faults", "true", "judge", "low", "high", "cosine"))


if __name__ == "__main__":
    main()
