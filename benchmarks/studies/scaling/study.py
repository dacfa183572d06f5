"""How MoVA scales on Worlds: with epochs, with the size of the backbone, and with the weight of the global loss.

These are the four panels of the paper's Fig. 7 (arXiv 2607.00858), on rendered data whose facts are known. The paper
has epochs on two data sets (a, b), sizes of ViT (c), and lambda_g : lambda_tv (d). Here (a) and (b) are the easy and
the hard gallery of the proving ground, (c) has five sizes of the `mova-worlds-tiny` towers, and (d) seven ratios.

MoVA's published objective (`paper`) stands beside the global loss alone, and the default (`subsets`) beside late
interaction without masks. All systems of a seed see the same batches in the same order. The learning rate stays
constant after a warm-up of ten steps, so that one run, measured at several epochs, replaces runs of several lengths;
the runs of (c) and (d) are as long as a checkpoint of (a). Every checkpoint is scored by two forms, for all systems
alike: the cosine of pooled vectors (`global`), and late interaction over sentences (`late`). Scores through masks are
in the proving ground.

Operations: 192 videos per epoch, 12 batches of 16 videos with 14 samples of 32 pixels. Per seed, four runs of 8 epochs,
16 of 3 for the other sizes and six of 3 for the other ratios are 98 epochs or 1,176 steps, so 3,528 steps for three
seeds; 800 steps warm up each of five sizes. At 0.05 to 0.15 s per step by size, this is about a quarter of an hour on
one core.

`--folder DIR` keeps rendered data and finished runs, so that an interrupted run can be resumed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import TrainerCallback, set_seed

from benchmarks.common import harness
from benchmarks.common.fitting import MODULE_RATE, fit
from benchmarks.common.samples import SampleInputs
from benchmarks.common.systems import System, both_ways
from benchmarks.common.warm_backbone import HELD_OUT, warm_backbone, warm_batches
from benchmarks.studies.proving_ground.arms import ARMS, Arm, thinned
from benchmarks.studies.proving_ground.stage import Gallery, StoredBatches
from benchmarks.studies.scaling.report import BASE, PAPER, SYSTEMS, Run, claims, plot, summaries
from mova.losses.diagnostics import mask_use
from mova.models.mova.model import Mova
from mova.models.worlds_tiny.model import WorldsTiny
from mova.train.objectives.mova import MovaObjective
from mova.train.trainer import TrainingData
from mova.worlds.galleries import WorldsPairs, easy_gallery, hard_gallery, render_shorts
from mova.worlds.render import TRAIN_STYLES

PIXELS = 32
RATE = 1e-4
"""Learning rate of the backbone, which stays constant: a third of the highest one in the proving ground."""
WARM_UP = 10
"""Steps until the learning rate is constant."""
RATIOS = (0.1, 0.2, 0.5, 1.0, 1.2, 2.0, 5.0)
"""lambda_g : lambda_tv. lambda_g changes, and all other weights are the published ones."""
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"stem": [4, 8, 16], "hidden_size": 16, "frame_layers": 1, "embedding_dim": 16},
    "small": {"stem": [6, 12, 24], "hidden_size": 24, "frame_layers": 1, "embedding_dim": 24},
    BASE: {"stem": [8, 16, 32], "hidden_size": 32, "frame_layers": 1, "embedding_dim": 32},
    "large": {"stem": [12, 24, 48], "hidden_size": 48, "frame_layers": 1, "embedding_dim": 48},
    "huge": {"stem": [16, 32, 64], "hidden_size": 64, "frame_layers": 1, "embedding_dim": 64},
}


@dataclass(frozen=True)
class Budget:
    """Sizes of the study.

    Attributes:
        warm_steps: steps of a backbone's training on single clips.
        batches, videos: batches of an epoch, and videos per batch.
        epochs: checkpoints, ascending; epoch 0 is the start.
        short: epochs of the runs of (c) and (d), one of `epochs`.
        easy, groups: videos of the easy gallery, and groups of four of the hard one.
    """

    warm_steps: int = 800
    batches: int = 12
    videos: int = 16
    epochs: tuple[int, ...] = (0, 1, 2, 3, 5, 8)
    short: int = 3
    easy: int = 120
    groups: int = 30


QUICK = Budget(warm_steps=2, batches=2, videos=4, epochs=(0, 1, 2), short=1, easy=8, groups=2)


@dataclass(frozen=True)
class Job:
    """A run: a system, the size of its backbone, lambda_g : lambda_tv, and the epochs at which it is measured."""

    system: str
    size: str
    ratio: float
    epochs: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.system}, {self.size}, {self.ratio:g}".replace("/", "-")

    def arm(self) -> Arm:
        """Return the system as the proving ground trains it, with the weight of the global loss."""
        arm = ARMS[self.system]
        return arm if self.ratio == 1.0 else replace(arm, objective=lambda: MovaObjective("paper", pooled=self.ratio))


def jobs(budget: Budget, sizes: Sequence[str], ratios: Sequence[float]) -> list[Job]:
    """Return the runs of a seed; those of (a) and (b) also give the middle of (c) and (d)."""
    short = (budget.short,)
    return [
        *(Job(system, BASE, 1.0, budget.epochs) for system in SYSTEMS),
        *(Job(PAPER, BASE, ratio, short) for ratio in ratios if ratio != 1.0),
        *(Job(system, size, 1.0, short) for size in sizes if size != BASE for system in SYSTEMS),
    ]


class Checkpoints(TrainerCallback):
    """Measure the model after some steps, in evaluation mode."""

    def __init__(self, epoch_of: dict[int, int], measure: Callable[[nn.Module], dict[str, Any]]) -> None:
        self.epoch_of, self.measure = epoch_of, measure
        self.found: list[dict[str, Any]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Measure the start, if it is a checkpoint."""
        self.on_step_end(args, state, control, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Measure if this step ends an epoch that is a checkpoint."""
        epoch = self.epoch_of.get(state.global_step)
        if epoch is None:
            return
        training = model.training
        self.found.append({"epoch": epoch, **self.measure(model.eval())})
        model.train(training)


class Epochs(Dataset[dict[str, Tensor]]):
    """Stored batches, epoch after epoch, each in an order of its own that depends on the seed and the epoch alone."""

    def __init__(self, batches: Dataset[dict[str, Tensor]], count: int, epochs: int, seed: int) -> None:
        self.batches = batches
        orders = [np.random.default_rng([seed, epoch]).permutation(count) for epoch in range(epochs)]
        self.order = [int(index) for order in orders for index in order]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Load a batch."""
        return self.batches[self.order[index]]


class Setting:
    """The data of a seed: training batches and galleries; backbones are shared by seeds."""

    def __init__(self, seed: int, budget: Budget, folder: Path) -> None:
        self.seed, self.budget, self.folder = seed, budget, folder
        source = WorldsPairs(2_000 + seed, budget.batches, budget.videos, PIXELS)
        self.batches = StoredBatches(source, folder / f"seed-{seed}" / "batches")
        rng = np.random.default_rng([HELD_OUT + seed, 2])
        shorts = {"easy": easy_gallery(rng, budget.easy), "hard": hard_gallery(rng, budget.groups)}
        self.galleries = {
            name: Gallery(videos, render_shorts(videos, rng, TRAIN_STYLES, PIXELS)) for name, videos in shorts.items()
        }

    def backbone(self, size: str) -> WorldsTiny:
        """Return a backbone trained on single clips and sentences, on the same batches at all sizes."""
        budget, home = self.budget, self.folder / "warm"
        shared = warm_batches(budget.warm_steps, budget.videos, PIXELS)
        batches = StoredBatches(shared, home / "batches")
        options: dict[str, Any] = {"size": PIXELS, "towers": SIZES[size], "batches": batches}
        return warm_backbone(home / size, budget.warm_steps, budget.videos, **options)


def run(job: Job, setting: Setting) -> dict[str, Any]:
    """Train a system and return its figures at all checkpoints."""
    began = time.process_time()
    budget, seed = setting.budget, setting.seed
    backbone = setting.backbone(job.size)
    set_seed(seed)
    arm = job.arm()
    model = arm.build(backbone)
    adapter = SampleInputs(backbone.config.image_size, backbone.tokenizer)
    epochs = Epochs(setting.batches, budget.batches, max(job.epochs), seed)
    training_data = TrainingData(
        epochs,
        lambda items: thinned(items[0], 1, backbone.config.max_words),
        adapter.encode,
        SequentialSampler(epochs),
    )
    marks = Checkpoints({epoch * budget.batches: epoch for epoch in job.epochs}, lambda net: measure(net, setting))
    options: dict[str, Any] = {"constant_after": WARM_UP, "callbacks": [marks]}
    with tempfile.TemporaryDirectory() as log:
        fit(model, arm.objective(), training_data, Path(log), seed, MODULE_RATE, RATE, **options)
    return {
        "system": job.system,
        "size": job.size,
        "ratio": job.ratio,
        "seed": seed,
        "parameters": sum(weight.numel() for weight in backbone.parameters()),
        "checkpoints": marks.found,
        "seconds": round(time.process_time() - began, 1),
    }


@torch.no_grad()
def measure(model: nn.Module, setting: Setting) -> dict[str, Any]:
    """Return R@1 both ways by both forms on both galleries, and the use of the masks of matched pairs."""
    system = System(model)
    figures: dict[str, Any] = {}
    for name, gallery in setting.galleries.items():
        frames = system.frames(gallery.frames)
        texts = system.texts([short.sentences for short in gallery.shorts])
        for form in ("global", "late"):
            figures[f"{name}_{form}"] = both_ways(system.scores(form, frames, texts).double().numpy())
        if name == "easy" and isinstance(model, Mova) and model.concept is not None:
            real = torch.ones(frames.shape[:2], dtype=torch.bool)
            whole = texts.whole
            masks = model.masks(frames, real, whole.tokens, whole.mask, whole.pooled)
            figures |= {"m_t": changing(masks.m_t), "m_v": changing(masks.m_v)}
    return figures


def changing(masks: Tensor) -> dict[str, float]:
    """Return the density of masks (V, T, d), and the share of dimensions that change within a video, in percent."""
    real = torch.ones(1, masks.shape[1], dtype=torch.bool)
    uses = [mask_use(mask[None], real) for mask in masks]
    return {
        "density": 100.0 * float(np.mean([use["density"] for use in uses])),
        "changing": 100.0 * float(np.mean([1 - use["dead"] - use["always_on"] for use in uses])),
    }


def seed_runs(seed: int, chosen: Sequence[Job], budget: Budget, folder: Path) -> list[Run]:
    """Return the results of all runs of a seed; finished ones are read from disk."""
    setting = cache(lambda: Setting(seed, budget, folder))
    home = folder / f"seed-{seed}" / "results"
    return [
        cast(Run, harness.finished(home / f"{job.name}.json", lambda job=job: run(job, setting()))) for job in chosen
    ]


def main() -> None:
    """Run what is missing, and report."""
    args = harness.runs_parser(__doc__).parse_args()
    torch.set_num_threads(1)
    budget = QUICK if args.quick else Budget()
    sizes, ratios = (("tiny", BASE), (0.2, 1.0)) if args.quick else (tuple(SIZES), RATIOS)
    seeds = harness.seeds_of(args)
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        chosen = jobs(budget, sizes, ratios)
        runs = [found for seed in seeds for found in seed_runs(seed, chosen, budget, folder)]
    if args.only_run:
        return
    result = harness.Report("scaling", seeds)
    for row in summaries(runs, budget.short):
        result.row(**row)
    for text, value, bound in claims(runs, budget.short):
        result.claim(text, value, bound, value >= bound)
    seconds = sum(found["seconds"] for found in runs)
    columns = ("panel", "name", "at", "easy_global", "easy_late", "hard_global", "hard_late", "spread")
    result.finish(plot=lambda figure: plot(runs, budget.short, figure), columns=columns, seconds=seconds)
