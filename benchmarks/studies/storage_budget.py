"""Which frames of a ten-minute video are worth keeping, if nobody knows the captions yet? The temporal mask at work.

k of the T frame vectors of each joined video (`mova.worlds.joined`) are kept, so that every arm has the same bytes:

- *mask*: the frames with the highest cosine with the part of a caption that the temporal mask opens for them,
  `cos(z_t, z_T * m_t)`, averaged over training captions; *open mask*: those with the largest share of open dimensions;
- *mask, per part*: the video is cut into k equal parts, and the best frame of each is kept (uniform with a choice);
- *uniform*, *random*; *k-means*: the frames nearest to k centers; *novelty*: a frame is kept if it is far from the last
  one that was kept, at the lowest distance that keeps at most k.

Models are arms of the proving ground, each scored by late interaction on its own vectors. With `--folder` of a run of
`benchmarks.studies.proving_ground`, its trained arms are loaded, else they are trained here in the same way. Figures
are R@1 of both directions, and the share of sentences whose best kept frame shows them.

Shape legend: T frames, k kept frames, F frames of the pool, N captions, d width.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from benchmarks.common import harness
from benchmarks.studies.proving_ground.arms import ABLATIONS, ARMS, train_arm
from benchmarks.studies.proving_ground.stage import Budget, Stage
from benchmarks.studies.proving_ground.study import QUICK
from mova.eval.tasks.long_galleries import LongGallery, worlds_gallery
from mova.eval.tasks.long_videos import recalls_of
from mova.models.mova.model import Mova
from mova.scoring.caption_score import gather_evidence
from mova.scoring.similarity import paired_cosine, relevance
from mova.worlds.galleries import easy_gallery

NAMES = ("MoVA, paper", "MoVA, repaired", "repaired, pair negatives alone")
SHARES = (1 / 8, 1 / 16, 1 / 32)
VIDEOS, CAPTIONS, CHUNK = 60, 16, 512
MASK, OPEN, PARTS, OPEN_PARTS = "mask", "open mask", "mask, per part", "open mask, per part"
CONTROLS = ("uniform", "k-means", "novelty", "random")
EVERY = "all frames"
BISECTIONS, ITERATIONS = 20, 10

_Kept = npt.NDArray[np.int64]
_F32 = npt.NDArray[np.float32]


@torch.no_grad()
def gates(model: Mova, frames: Tensor, captions: Sequence[str]) -> dict[str, _F32]:
    """Return the worth of every frame (F, d) of the pool by the temporal mask, averaged over captions."""
    texts = model.encode_text(list(captions))
    agreement, opened = torch.zeros(len(frames)), torch.zeros(len(frames))
    for pooled, tokens, real in zip(texts.pooled, texts.tokens, texts.mask, strict=True):
        states, words = tokens[real][None], torch.ones(1, int(real.sum()), dtype=torch.bool)
        for start in range(0, len(frames), CHUNK):
            part = slice(start, start + CHUNK)
            shown = frames[part][None]
            m_t = model.masks(shown, torch.ones(shown.shape[:2], dtype=torch.bool), states, words, pooled[None]).m_t[0]
            agreement[part] += paired_cosine(frames[part], pooled * m_t)
            opened[part] += m_t.mean(dim=1)
    return {MASK: (agreement / len(captions)).numpy(), OPEN: (opened / len(captions)).numpy()}


def highest(worth: _F32, k: int) -> _Kept:
    """Keep the k frames of the highest worth; of equal ones the first."""
    return np.sort(np.argsort(-worth, kind="stable")[:k])


def per_part(worth: _F32, k: int) -> _Kept:
    """Keep the frame of the highest worth in each of k equal parts."""
    edges = np.linspace(0, len(worth), k + 1).round().astype(np.int64)
    return np.array([a + int(worth[a:b].argmax()) for a, b in pairwise(edges.tolist())])


def uniform(frames: _F32, k: int) -> _Kept:
    """Keep the middle frame of each of k equal parts."""
    return ((np.arange(k) + 0.5) * len(frames) / k).astype(np.int64)


def medoids(frames: _F32, k: int, seed: int) -> _Kept:
    """Keep the frame nearest to each of k centers; fewer if the video has fewer different frames."""
    count = min(k, len(np.unique(frames, axis=0)))
    centers = KMeans(count, n_init=1, max_iter=ITERATIONS, random_state=seed).fit(frames).cluster_centers_
    distances = (centers**2).sum(axis=1)[:, None] - 2 * centers @ frames.T
    return np.unique(distances.argmin(axis=1))


def novel(frames: _F32, k: int) -> _Kept:
    """Keep frames that are far from the last kept one, at the lowest distance that keeps at most k."""
    low, high = 0.0, 4.0
    best = np.array([0])
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        kept = [0]
        for t in range(1, len(frames)):
            apart = frames[t] - frames[kept[-1]]
            if float(apart @ apart) > middle:
                kept.append(t)
                if len(kept) > k:
                    break
        if len(kept) > k:
            low = middle
        else:
            high, best = middle, np.array(kept)
    return best


def keepers(worth: Mapping[str, _F32], frames: _F32, k: int, seed: int) -> dict[str, Callable[[], _Kept]]:
    """Return every way to keep k frames of a video, given the worth (T,) of its frames."""
    rng = np.random.default_rng([seed, k])
    return {
        MASK: lambda: highest(worth[MASK], k),
        OPEN: lambda: highest(worth[OPEN], k),
        PARTS: lambda: per_part(worth[MASK], k),
        OPEN_PARTS: lambda: per_part(worth[OPEN], k),
        "uniform": lambda: uniform(frames, k),
        "k-means": lambda: medoids(frames, k, seed),
        "novelty": lambda: novel(frames, k),
        "random": lambda: np.sort(rng.choice(len(frames), k, replace=False)),
    }


def measure(model: Mova, gallery: LongGallery, worth: Mapping[str, _F32], seed: int) -> dict[str, dict[str, float]]:
    """Return the figures of every way to keep frames, and of all frames."""
    bounds = np.cumsum([0, *(len(clip.times) for clip in gallery.pool)])
    pool = torch.cat([clip.frames for clip in gallery.pool])
    videos = [np.concatenate([np.arange(bounds[i], bounds[i + 1]) for i in v.clips]) for v in gallery.videos]
    kept: dict[str, list[_Kept]] = {EVERY: [np.arange(len(frames)) for frames in videos]}
    for share in SHARES:
        for frames in videos:
            k = max(2, round(share * len(frames)))
            own = {name: values[frames] for name, values in worth.items()}
            for name, keep in keepers(own, pool[frames].numpy(), k, seed).items():
                kept.setdefault(f"{name} {share:g}", []).append(keep())
    units = list(model.encode_text(list(gallery.statements)).pooled)
    texts = [torch.stack([units[i] for i in video.statements]) for video in gallery.videos]
    return {name: figures(gallery, [pool[f] for f in videos], chosen, texts) for name, chosen in kept.items()}


def figures(
    gallery: LongGallery, videos: Sequence[Tensor], kept: Sequence[_Kept], texts: Sequence[Tensor]
) -> dict[str, float]:
    """Return R@1 and the share of sentences that are found, with these frames of each video."""
    stored = [video[torch.from_numpy(chosen)] for video, chosen in zip(videos, kept, strict=True)]
    late = gather_evidence(stored, texts, order=False, lone=False).late.double().numpy()
    recalls = recalls_of(late, gallery)
    found, there = [], []
    for number, (frames, chosen, text) in enumerate(zip(stored, kept, texts, strict=True)):
        truth = gallery.truth(number)[:, chosen]
        best = relevance(text, frames).argmax(dim=1).numpy()
        found += truth[np.arange(len(truth)), best].tolist()
        there += truth.any(axis=1).tolist()
    sizes = fmean(len(chosen) for chosen in kept)
    both = {"t2v": recalls.t2v, "v2t": recalls.v2t, "R@1": (recalls.t2v + recalls.v2t) / 2}
    return {**both, "found": 100 * fmean(found), "kept": 100 * fmean(there), "frames": sizes}


def run(name: str, seed: int, quick: bool, folder: Path) -> dict[str, Any]:
    """Measure one model of a seed."""
    stage = Stage(seed, QUICK if quick else Budget(), folder / f"seed-{seed}", folder / "warm")
    home = stage.folder / "runs" / name
    home.mkdir(parents=True, exist_ok=True)
    model = cast(Mova, train_arm((ARMS | ABLATIONS)[name], stage, home)[0])
    began = time.process_time()
    size: Any = {"videos": 8, "minutes": 1.0} if quick else {"videos": VIDEOS}
    gallery = worlds_gallery(model, seed=seed, **size)
    shorts = easy_gallery(np.random.default_rng([1_000, seed]), 2 if quick else CAPTIONS)
    worth = gates(model, torch.cat([clip.frames for clip in gallery.pool]), [" ".join(s.sentences) for s in shorts])
    return {"arms": measure(model, gallery, worth, seed), "seconds": round(time.process_time() - began, 1)}


def claims(report: harness.Report, name: str, runs: Sequence[dict[str, Any]]) -> None:
    """Add the claims of a model: means over seeds and budgets."""

    def mean(arm: str, key: str) -> float:
        return fmean(result["arms"][f"{arm} {share:g}"][key] for result in runs for share in SHARES)

    for key in ("R@1", "found"):
        for control in CONTROLS:
            gain = round(mean(MASK, key) - mean(control, key), 2)
            report.claim(f"{name}: {key} of frames by the mask minus {control}", gain, 0.0, gain > 0)
        gain = round(mean(PARTS, key) - mean("uniform", key), 2)
        report.claim(f"{name}: {key} of the mask's frame per part minus uniform", gain, 0.0, gain > 0)


def plot(rows: Sequence[Mapping[str, Any]], figure: Any) -> None:
    """Draw R@1 by the share of kept frames, one panel per model."""
    figure.set_size_inches(10, 3.8)
    names = list(dict.fromkeys(row["name"] for row in rows))
    styles = {MASK: "#e07a1f", PARTS: "#c53030", "uniform": "#2b6cb0", "k-means": "#2f855a", "novelty": "#805ad5"}
    for axis, name in zip(np.atleast_1d(figure.subplots(1, len(names), sharey=True)), names, strict=True):
        own = [row for row in rows if row["name"] == name]
        for arm, color in {**styles, "random": "#9aa5b1"}.items():
            values = [row["R@1"] for row in own if row["form"] == arm]
            axis.plot(range(len(values)), values, "o-", color=color, label=arm)
        axis.axhline(next(row["R@1"] for row in own if row["form"] == EVERY), color="black", ls=":", label=EVERY)
        axis.set(title=name, xlabel="frames kept")
        axis.set_xticks(range(len(SHARES)), [f"1/{1 / share:g}" for share in SHARES])
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("R@1, both directions, percent")
    figure.axes[0].set_ylim(bottom=0)  # shared; set last, because it ends the automatic scale
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)


def main() -> None:
    """Measure all models and seeds."""
    args = harness.runs_parser(__doc__).parse_args()
    torch.set_num_threads(1)
    seeds = harness.seeds_of(args)
    report = harness.Report("storage_budget", seeds)
    seconds = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        for name in NAMES[1:2] if args.quick else NAMES:
            results = [folder / f"seed-{seed}" / "storage" / f"{name}.json" for seed in seeds]
            runs = [
                harness.finished(path, partial(run, name, seed, args.quick, folder))
                for path, seed in zip(results, seeds, strict=True)
            ]
            seconds += sum(result["seconds"] for result in runs)
            for arm in runs[0]["arms"]:
                form, _, share = arm.rpartition(" ")
                means = {key: round(fmean(r["arms"][arm][key] for r in runs), 2) for key in runs[0]["arms"][arm]}
                each = [result["arms"][arm]["R@1"] for result in runs]
                known = {"form": EVERY, "share": 1.0} if arm == EVERY else {"form": form, "share": float(share)}
                report.row(name=name, **known, **means, lowest=round(min(each), 2), highest=round(max(each), 2))
            claims(report, name, runs)
    if not args.only_run:
        columns = ("name", "form", "share", "R@1", "found", "kept", "frames", "lowest", "highest")
        report.finish(plot=lambda figure: plot(report.rows, figure), columns=columns, seconds=round(seconds, 1))


if __name__ == "__main__":
    main()
