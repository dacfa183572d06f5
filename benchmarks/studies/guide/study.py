"""Does a generator follow long prompts better with MoVA's text encoder, and with subsets of the text per frame?

A small video diffusion model is trained on clips of three events (`clips.py`) with one of five text sides
(`encoders.py`); all else is equal: model, clips, noise, steps. Frames of an event are read by a classifier that was
trained on real frames (`readers.py`). *Faithfulness* is the share of a sentence's four factors that the reader finds in
the frames of its event; a guess is right in 25 %, and the reader itself in nearly 100 %.

When a clip is generated, there are no frames yet that masks could look at. The subset of frame t is then the sentence
that the masks of the training clips select most for frame t.

Shape legend: N prompts, K sentences per clip, T frames per clip.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import harness
from benchmarks.studies.guide.clips import (
    FRAMES,
    SENTENCES,
    SIDE,
    VALUES,
    Clips,
    Pool,
    clip_pixels,
    draw_clips,
    draw_pool,
)
from benchmarks.studies.guide.encoders import (
    ARMS,
    CUT,
    LIMIT,
    MOVA,
    ORDER,
    STRETCHED,
    SUBSETS,
    Arm,
    Encoder,
    conditions,
    in_order,
    mask_weights,
    read_texts,
    tower,
    train_mova,
)
from benchmarks.studies.guide.generator import Conditions, Training, sample, train_generator
from benchmarks.studies.guide.readers import Reader, read, train_reader
from mova.models.mova.model import Mova
from mova.types import Pixels
from mova.worlds.captions import words

CHANCE, STREAM = 25.0, 19
"""Percent of factors that a guess gets right, and the stream of all random draws."""
SHOWN = 3
"""Prompts of the first seed in the picture."""


@dataclass(frozen=True)
class Budget:
    """Sizes of the study."""

    events: int = 2500
    held_out: int = 400
    clips: int = 2560
    prompts: int = 96
    reader_steps: int = 600
    mova_steps: int = 200
    training: Training = field(default_factory=Training)


QUICK = Budget(80, 40, 64, 4, 4, 2, Training(steps=2, batch=4, width=32, layers=1, sampling_steps=2))


class Stage:
    """All that the arms of a seed share; made when first used."""

    def __init__(self, seed: int, budget: Budget, folder: Path) -> None:
        self.seed, self.budget, self.folder = seed, budget, folder
        self._states: dict[str, list[tuple[Tensor, Tensor]]] = {}

    @cached_property
    def pools(self) -> tuple[Pool, Pool]:
        """Events for training, and others for tests."""
        rng = np.random.default_rng([STREAM, self.seed, 0])
        return draw_pool(rng, self.budget.events), draw_pool(rng, self.budget.held_out)

    @cached_property
    def clips(self) -> tuple[Clips, Clips]:
        """Clips for training, and the prompts to render."""
        rng = np.random.default_rng([STREAM, self.seed, 1])
        train, test = self.pools
        return draw_clips(rng, train, self.budget.clips), draw_clips(rng, test, self.budget.prompts)

    @cached_property
    def frames(self) -> Tensor:
        """Training clips in [-1, 1], (N, T, 3, s, s)."""
        pixels = torch.from_numpy(clip_pixels(self.pools[0], self.clips[0]))
        return (pixels.float() / 127.5 - 1).permute(0, 1, 4, 2, 3)

    @cached_property
    def reader(self) -> Reader:
        """The reader of factors."""
        return train_reader(self.pools[0], self.seed, self.budget.reader_steps)

    @cached_property
    def mova(self) -> Mova:
        """MoVA around the stretched tower."""
        return train_mova(self.pools[0], self.seed, self.budget.mova_steps, self.folder / "mova")

    @cached_property
    def weights(self) -> Tensor:
        """Weights of MoVA's masks on the training clips, (N, T, K)."""
        return mask_weights(self.mova, self.pools[0], self.clips[0])

    def states(self, encoder: Encoder) -> list[tuple[Tensor, Tensor]]:
        """Return the token states of the training clips and of the prompts, see `read_texts`."""
        if encoder not in self._states:
            model = self.mova.backbone if encoder == "mova" else tower(LIMIT if encoder == "plain" else None)
            self._states[encoder] = [read_texts(model, clips) for clips in self.clips]
        return self._states[encoder]

    def conditions(self, arm: Arm) -> tuple[Conditions, Conditions]:
        """Return the texts of the training clips and of the prompts, as the generator of an arm reads them."""
        train, test = self.clips
        selected: tuple[Tensor | None, Tensor | None] = (None, None)
        if arm.reading == "order":
            selected = (in_order(len(train.events)), in_order(len(test.events)))
        elif arm.reading == "masks":
            plan = self.weights.mean(dim=0).argmax(dim=1)
            selected = (self.weights.argmax(dim=2), plan.expand(len(test.events), -1))
        first, second = (
            conditions(states, clips, chosen)
            for states, clips, chosen in zip(self.states(arm.encoder), (train, test), selected, strict=True)
        )
        return first, second


def faithful(reader: Reader, pixels: Pixels, pool: Pool, clips: Clips) -> dict[str, Any]:
    """Read clips (N, T, s, s, 3): percent of factors as in the prompt, (K, factors), and of whole sentences, (K,)."""
    count = len(clips.events)
    seen = read(reader, pixels.reshape(count * SENTENCES, FRAMES, SIDE, SIDE, 3)).reshape(count, SENTENCES, -1)
    right = seen == pool.facts[clips.events]
    return {"factors": (100 * right.mean(axis=0)).tolist(), "whole": (100 * right.all(axis=2).mean(axis=0)).tolist()}


def describe_stage(stage: Stage) -> dict[str, Any]:
    """Measure what all arms of a seed share: the reader on real clips, the masks, and the words that are cut."""
    test, (train_clips, prompts) = stage.pools[1], stage.clips
    began = time.process_time()
    selected = stage.weights.argmax(dim=2)
    lengths = np.array([[len(words(sentence)) for sentence in prompt] for prompt in prompts.sentences])
    ends = lengths.cumsum(axis=1)
    kept = (np.minimum(ends, LIMIT) - np.minimum(ends - lengths, LIMIT)) / lengths
    return {
        "real": faithful(stage.reader, clip_pixels(test, prompts), test, prompts),
        "every event": (100 * (read(stage.reader, test.pixels) == test.facts).mean(axis=0)).tolist(),
        "masks right": 100 * float((selected == in_order(len(train_clips.events))).float().mean()),
        "plan": stage.weights.mean(dim=0).argmax(dim=1).tolist(),
        "words": float(ends[:, -1].mean()),
        "words kept by the cut": (100 * kept.mean(axis=0)).tolist(),
        "seconds": round(time.process_time() - began, 1),
    }


def run(name: str, stage: Stage) -> dict[str, Any]:
    """Train the generator of an arm, render the prompts, and read the clips."""
    began = time.process_time()
    train_texts, test_texts = stage.conditions(ARMS[name])
    losses: list[float] = []
    net = train_generator(
        stage.frames, train_texts, stage.budget.training, stage.seed, lambda _, loss: losses.append(loss)
    )
    pixels = sample(net, test_texts, stage.budget.training, stage.seed).numpy()
    stage.folder.mkdir(parents=True, exist_ok=True)
    np.save(stage.folder / f"{name}.npy", pixels[:SHOWN])
    return {
        **faithful(stage.reader, pixels, stage.pools[1], stage.clips[1]),
        "loss": fmean(losses[-50:]),
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "seconds": round(time.process_time() - began, 1),
    }


def seed_results(stage: Stage) -> dict[str, dict[str, Any]]:
    """Return the results of all arms of a seed, and those of `describe_stage` as "shared"; finished ones are read."""
    work = {"shared": partial(describe_stage, stage), **{name: partial(run, name, stage) for name in ARMS}}
    return {name: harness.finished(stage.folder / f"{name}.json", make) for name, make in work.items()}


def by_sentence(result: Mapping[str, Any]) -> list[float]:
    """Return the faithfulness to each sentence: percent of its factors, (K,)."""
    return [fmean(row) for row in result["factors"]]


def overall(result: Mapping[str, Any], first: int = 0, last: int = SENTENCES) -> float:
    """Return the mean faithfulness to sentences `first` to `last` (excluded)."""
    return fmean(by_sentence(result)[first:last])


def add_rows(report: harness.Report, runs: Sequence[Mapping[str, Any]]) -> None:
    """Add a row per arm: means over seeds, and the lowest and highest seed of all sentences."""
    for name in ("real clips", *ARMS):
        results = [run["shared"]["real"] if name == "real clips" else run[name] for run in runs]
        each = [overall(result) for result in results]
        row = {f"sentence {k + 1}": round(fmean(by_sentence(r)[k] for r in results), 1) for k in range(SENTENCES)}
        row |= {"all": round(fmean(each), 1), "lowest": round(min(each), 1), "highest": round(max(each), 1)}
        for i, factor in enumerate(VALUES):
            row[factor] = round(fmean(line[i] for result in results for line in result["factors"]), 1)
        row["whole sentences"] = round(fmean(fmean(result["whole"]) for result in results), 1)
        if name in ARMS:
            row |= {"loss": round(fmean(result["loss"] for result in results), 4)}
            row |= {"parameters": results[0]["parameters"], "seconds": [result["seconds"] for result in results]}
        report.row(name=name, **row)
    for seed, run in zip(report.seeds, runs, strict=True):
        shared = {key: value for key, value in run["shared"].items() if key != "real"}
        report.row(name=f"seed {seed}", form="shared by all arms", **shared)


def add_claims(report: harness.Report, runs: Sequence[Mapping[str, Any]]) -> None:
    """Add the claims; values are means over seeds of the reader's share of factors, in points."""

    def mean(name: str, first: int = 0, last: int = SENTENCES) -> float:
        return fmean(overall(run[name], first, last) for run in runs)

    def claim(text: str, value: float, bound: float = 0.0) -> None:
        report.claim(f"faithfulness, {text}", round(value, 2), bound, value > bound)

    ceiling = fmean(overall(run["shared"]["real"]) for run in runs)
    claim("reader on real clips", ceiling, 90.0)
    claim("cut, first sentence, minus a guess", mean(CUT, 0, 1) - CHANCE, 25.0)
    claim("sentences 2 and 3: stretched minus cut", mean(STRETCHED, 1) - mean(CUT, 1))
    claim("first sentence: stretched minus cut", mean(STRETCHED, 0, 1) - mean(CUT, 0, 1), -2.0)
    claim("all sentences: MoVA's encoder minus stretched, whole text for both", mean(MOVA) - mean(STRETCHED))
    claim("all sentences: MoVA's subsets minus the same encoder with the whole text", mean(SUBSETS) - mean(MOVA))
    claim("sentences 2 and 3: MoVA's subsets minus cut", mean(SUBSETS, 1) - mean(CUT, 1))
    claim(
        "all sentences: MoVA's subsets minus stretched with sentences in order, no masks", mean(SUBSETS) - mean(ORDER)
    )
    middle = (CHANCE + ceiling) / 2
    claim("all sentences: MoVA's subsets minus the middle between a guess and real clips", mean(SUBSETS) - middle)


def plot(report: harness.Report, pictures: Mapping[str, Pixels], prompts: Sequence[str], figure: Any) -> None:
    """Draw samples of the first seed, real clips in the first row, and the faithfulness by sentence."""
    figure.set_size_inches(12, 8)
    upper, lower = figure.subfigures(2, 1, height_ratios=(2, 1))
    axes = upper.subplots(len(pictures), len(prompts), squeeze=False, gridspec_kw={"hspace": 0, "wspace": 0})
    for row, (name, clips) in zip(axes, pictures.items(), strict=True):
        for axis, clip in zip(row, clips, strict=True):
            axis.imshow(np.concatenate(list(clip), axis=1), interpolation="nearest")
            for k in range(1, SENTENCES):
                axis.axvline(FRAMES * SIDE * k - 0.5, color="white")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axis, prompt in zip(axes[0], prompts, strict=True):
        axis.set_title(fill(prompt, 62), fontsize=7)
    axis = lower.subplots()
    shown = [row for row in report.rows if "sentence 1" in row]
    width = 0.8 / len(shown)
    for i, row in enumerate(shown):
        places = np.arange(SENTENCES) + (i - (len(shown) - 1) / 2) * width
        axis.bar(places, [row[f"sentence {k + 1}"] for k in range(SENTENCES)], width, label=row["name"])
    axis.axhline(CHANCE, color="black", linestyle=":", label="guess")
    axis.set_xticks(range(SENTENCES), [f"sentence {k + 1}" for k in range(SENTENCES)])
    axis.set(ylabel="factors as the prompt says, percent", ylim=(0, 104))
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def main() -> None:
    """Run the missing arms and seeds, and report."""
    args = harness.runs_parser(__doc__).parse_args()
    torch.set_num_threads(1)
    seeds = harness.seeds_of(args)
    report = harness.Report("guide", seeds)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)

        def stage(seed: int) -> Stage:
            return Stage(seed, QUICK if args.quick else Budget(), folder / f"seed-{seed}")

        runs = [seed_results(stage(seed)) for seed in seeds]
        if args.only_run:
            return
        add_rows(report, runs)
        add_claims(report, runs)
        first = stage(seeds[0])
        real = clip_pixels(first.pools[1], first.clips[1])[:SHOWN]
        pictures = {"real": real, **{name: np.load(first.folder / f"{name}.npy")[:SHOWN] for name in ARMS}}
        columns = ("name", *(f"sentence {k + 1}" for k in range(SENTENCES)), "all", "lowest", "highest", *VALUES)
        drawn = partial(plot, report, pictures, first.clips[1].prompts[:SHOWN])
        report.finish(plot=drawn, columns=columns, seconds=sum(r["seconds"] for run in runs for r in run.values()))


if __name__ == "__main__":
    main()
