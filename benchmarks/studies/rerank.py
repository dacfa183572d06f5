"""Another model that is asked about the first moments of a search: what it adds, and what it costs.

Worlds of 40 s are indexed with one model. Their sentences are searched, and another model is asked about the clips of
the first ten moments of each. Figures are the mean reciprocal rank (MRR) of the first correct moment in percent, over
seeds: in the order of the first model, of the second, of both equally, and of the weight that was chosen on other
videos (`mova.search.second_stage.measuring`). Beside them are the expected value of a random order, and that of the
best order that there is. A moment is correct if it overlaps a known one by at least half. Random models are tiny
checkpoints of real architectures, with other weights for each seed: they can only add noise, and the weight should be
0. The disturbed model has noise on its weights: a first stage that is worse than the second, but better than chance.
Costs are processor seconds on one thread.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import harness
from benchmarks.studies.encoders import rendered
from mova.data.manifest import read_manifest
from mova.eval.tasks.worlds import HELD_OUT
from mova.models.known import ready_models
from mova.models.registry import load, load_video_llm
from mova.models.tiny_checkpoint import write_tiny_clip
from mova.search.index import Index
from mova.search.second_stage.measuring import Measured, known_queries, measure, score_queries
from mova.search.second_stage.reranker import Reranker
from tests.support.tiny_videollms import build

TINY, NATURAL, CLIP, LLM = "mova-worlds-tiny", "mova-natural", "random CLIP", "random Qwen3-VL"
WEAK = "disturbed mova-worlds-tiny"
PAIRS = ((TINY, LLM), (TINY, CLIP), (TINY, TINY), (CLIP, TINY), (WEAK, TINY), (NATURAL, TINY))
TOP, QUERIES = 10, 45
NOISE = 1.0
"""Noise of the disturbed model's weights, relative to their own deviation in each tensor."""
RANDOM = (CLIP, LLM)
ORDERS = ("first stage", "second alone", "equal", "measured", "chance", "best")


def model(name: str, texts: list[str], folder: Path, seed: int) -> Any:
    """Load a model; random ones are made first."""
    if name == CLIP:
        return load(str(write_tiny_clip(folder / "clip", texts, seed)), device="cpu")
    if name == LLM:
        made = load_video_llm(build("qwen3_vl", folder / "llm"), max_frames=4, precision="fp32", device="cpu")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for weight in made.model.parameters():  # type: ignore[attr-defined]
                if weight.ndim > 1:
                    weight.data = weight.data[torch.randperm(len(weight))]
        return made
    if name == WEAK:
        weak = load(TINY, device="cpu")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for weight in weak.parameters():  # type: ignore[attr-defined]
                if weight.ndim > 1:
                    weight.data += NOISE * weight.data.std() * torch.randn_like(weight)
        return weak
    return load(name, device="cpu")


def one_seed(seed: int, videos: int, queries: int, folder: Path, pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Measure every pair of models on one draw of Worlds."""
    manifest = rendered(folder / "worlds", videos, HELD_OUT + seed)
    rows = read_manifest(manifest)
    known = known_queries(rows, manifest.parent.resolve())
    chosen = [known[i] for i in np.random.default_rng(seed).permutation(len(known))[:queries]]
    models: dict[str, Any] = {}
    indexes: dict[str, Index] = {}

    def opened(name: str) -> Any:
        if name not in models:
            models[name] = model(name, [query.text for query in known], folder, seed)
        return models[name]

    results = []
    for first, second in pairs:
        if first not in indexes:
            indexes[first] = Index(folder / f"index {first}", opened(first))
            indexes[first].add([manifest.parent], threads=1)
        index, reranker = indexes[first], Reranker(opened(second), top=TOP)
        searching = spent(lambda index=index: [index.search(query.text, TOP) for query in chosen])  # type: ignore[misc]
        began = time.process_time()
        scored, _ = score_queries(index, chosen, reranker)
        asking = time.process_time() - began - searching
        clips = sum(len(query.first) for query in scored)
        found = measure(scored, TOP)
        results.append({"first": first, "second": second, "found": found, "search": searching / len(chosen)})
        results[-1]["asking"] = asking / max(clips, 1)
    return results


def spent(work: Callable[[], Any]) -> float:
    """Return the processor seconds of some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Measure every pair of models over the seeds."""
    args = harness.arguments(__doc__)
    torch.set_num_threads(1)
    seeds = [args.seed] if args.quick else list(range(args.seed, args.seed + 3))
    pairs = [(a, b) for a, b in PAIRS if NATURAL not in (a, b) or (NATURAL in ready_models() and not args.quick)]
    report, runs = harness.Report("rerank", seeds), list[list[dict[str, Any]]]()
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            size = (6, 12) if args.quick else (12, QUERIES)
            runs.append(one_seed(seed, *size, Path(folder), pairs))
    for number, (first, second) in enumerate(pairs):
        same = [run[number] for run in runs]
        found: list[Measured] = [result["found"] for result in same]
        mrr = {name: [one.figures[name]["MRR"] for one in found] for name in ORDERS}
        texts = {name: f"{np.mean(values):.1f} ± {np.std(values):.1f}" for name, values in mrr.items()}
        weights = [one.mixing.weight for one in found]
        costs = {"ms per query": 1000 * float(np.mean([result["search"] for result in same]))}
        costs["ms per moment asked"] = 1000 * float(np.mean([result["asking"] for result in same]))
        queries = sum(one.mixing.queries for one in found)
        report.row(name=f"{first}, then {second}", queries=queries, **texts, weights=weights, **costs, values=mrr)
        gain = float(np.mean(mrr["measured"]) - np.mean(mrr["first stage"]))
        if second in RANDOM:
            report.claim(f"{first}, then {second}: highest weight", max(weights), 0.0, max(weights) == 0)
        elif first != second:
            report.claim(f"{first}, then {second}: gain by the measured weight, points of MRR", gain, 5.0, gain >= 5)
        else:
            report.claim(f"{first}, then {second}: gain by the measured weight, points of MRR", gain, 0.0, gain >= 0)
    report.finish(columns=[name for name in report.rows[0] if name != "values"])


if __name__ == "__main__":
    main()
