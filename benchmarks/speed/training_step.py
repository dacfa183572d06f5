"""One training step of MoVA's presets versus CLIP4Clip: processor time, peak memory, parameters.

Same backbone, same batch, random weights: forward, loss, backward and AdamW step, without data loading and without the
diagnostics that a run logs from time to time. The backbone is a CLIP with the proportions of ViT-B/16: depth and 197
image positions as in the original, widths and vocabulary divided by 4 (`--quick`: by 12). A batch has 4 videos of 8
frames (2 of 2) with captions of 72 tokens in 4 units of 20. One thread. Times are medians over rounds in which every
system makes one step; a ratio is the median of the ratios of the rounds, with minimum and maximum. Operations are
counted (matrix products and attention, forward and backward). Memory is measured in a separate process: the peak above
the level with model, optimizer state and batch, that is, activations and gradients.

The time of a step is proportional to the number of frames: per frame, the cost of blocks over patches and of masks over
vectors keeps its ratio if all widths shrink equally. Two things differ in a real run. Attention is a larger part of
narrow blocks. And mask losses compare all frames of a batch: at 256 videos of 64 frames this is about 0.2 GFLOP per
frame, versus 105 for ViT-B/16; at 4 videos of 8 frames it is negligible.

Parameters are counted on the meta device for the real ViT-B/16 with 248 text positions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPConfig

from benchmarks.common import harness
from benchmarks.common.baseline_heads import Headed, HeadObjective
from mova.baselines.temporal_transformer import TemporalTransformer
from mova.data.batch import PairBatch
from mova.models.families import input_adapter
from mova.models.mova.config import MovaConfig
from mova.models.mova.model import Mova
from mova.models.two_tower.config import TwoTowerConfig
from mova.models.two_tower.image_processor import ImageRule
from mova.models.two_tower.model import TwoTower
from mova.models.two_tower.text_processor import TextRule
from mova.train.objectives.base import ModelEncoder, PairObjective
from mova.train.objectives.mova import MovaObjective
from mova.train.objectives.pairs import Clip4Clip
from mova.train.param_groups import parameter_groups

SIZE, POSITIONS, TOKENS, UNITS, UNIT_TOKENS = 224, 248, 72, 4, 20
VOCABULARY = 49408
CONTROL, SEQUENTIAL = "CLIP4Clip, mean pool", "CLIP4Clip, temporal transformer"
PUBLISHED = "MoVA, paper, temporal transformer"
FULL_ONLY = (SEQUENTIAL, PUBLISHED, "MoVA, control", "MoVA, repaired")
"""Systems whose parameters `--quick` counts without running them."""
PAPER_TIME = 76.7 / 92.9
"""Minutes of an epoch of MoVA over those of CLIP4Clip in the paper (arXiv 2607.00858)."""
PAPER_PARAMETERS = {SEQUENTIAL: 162.3e6, PUBLISHED: 174.7e6}
"""Parameters of CLIP4Clip and MoVA in the paper."""
TOLERANCE = 0.01
"""Largest difference of numbers of parameters, as a share, in either direction."""


@dataclass(frozen=True)
class System:
    """A model around a backbone, and its objective."""

    build: Callable[[TwoTower], nn.Module]
    objective: Callable[[], PairObjective]


def _temporal(backbone: TwoTower) -> nn.Module:
    return Headed(cast(Any, backbone), TemporalTransformer(backbone.embedding_dim, positions=128))


def _preset(name: str, **settings: Any) -> System:
    def build(backbone: TwoTower) -> nn.Module:
        return Mova(MovaConfig.from_preset(name, backbone.config.to_dict(), **settings), backbone)

    return System(build, lambda: MovaObjective(name, diagnose_every=0))


SYSTEMS: dict[str, System] = {
    CONTROL: System(lambda backbone: backbone, Clip4Clip),
    SEQUENTIAL: System(_temporal, HeadObjective),
    **{f"MoVA, {name}": _preset(name) for name in ("control", "subsets", "repaired", "paper")},
    PUBLISHED: _preset("paper", temporal_blocks=4),
}


def backbone(divisor: int) -> TwoTower:
    """Build a CLIP of the shape of ViT-B/16 with all widths divided."""
    text, vision = 512 // divisor // 8 * 8, 768 // divisor // 8 * 8
    vocabulary = VOCABULARY // divisor
    shared = {"num_hidden_layers": 12}
    config = CLIPConfig(
        text_config=shared
        | {
            "hidden_size": text,
            "intermediate_size": 4 * text,
            "num_attention_heads": 8,
            "vocab_size": vocabulary,
            "max_position_embeddings": POSITIONS,
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
        },
        vision_config=shared
        | {
            "hidden_size": vision,
            "intermediate_size": 4 * vision,
            "num_attention_heads": 12 if vision % 12 == 0 else 8,
            "image_size": SIZE,
            "patch_size": 16,
        },
        projection_dim=text,
    )
    rules = {"image": ImageRule("exact", SIZE, SIZE).to_dict(), "text": TextRule(POSITIONS).to_dict()}
    return TwoTower(TwoTowerConfig(backbone=config.to_dict(), **rules))


def batch_of(videos: int, frames: int, vocabulary: int) -> PairBatch:
    """Draw random pixels and tokens; texts end with the end token."""

    def texts(*shape: int) -> Tensor:
        ids = torch.randint(1, vocabulary - 2, shape)
        ids[..., -1] = vocabulary - 1
        return ids

    ids, units = texts(videos, TOKENS), texts(videos, UNITS, UNIT_TOKENS)
    return PairBatch(
        frames=torch.randint(0, 256, (videos, frames, SIZE, SIZE, 3), dtype=torch.uint8),
        frame_mask=torch.ones(videos, frames, dtype=torch.bool),
        input_ids=ids,
        token_mask=torch.ones_like(ids, dtype=torch.bool),
        unit_ids=units,
        unit_token_mask=torch.ones_like(units, dtype=torch.bool),
        unit_mask=torch.ones(videos, UNITS, dtype=torch.bool),
        group=torch.arange(videos),
        dropped=torch.zeros(videos, dtype=torch.int64),
    )


class Trained:
    """A system with its optimizer and a batch, after one small warm-up step."""

    def __init__(self, name: str, divisor: int, videos: int, frames: int, seed: int) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        system = SYSTEMS[name]
        self.model, self.objective = system.build(backbone(divisor)).train(), system.objective()
        self.encoder = ModelEncoder(self.model, self.model, input_adapter(self.model).encode)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.model, 1e-4, 1e-7, 0.2))
        self.batch = batch_of(2, 1, VOCABULARY // divisor)
        self.step()
        self.batch = batch_of(videos, frames, VOCABULARY // divisor)

    def step(self) -> float:
        """Run forward, loss, backward and update; return the loss."""
        batch = self.batch
        if not self.objective.units:
            batch = replace(batch, unit_ids=None, unit_token_mask=None, unit_mask=None)
        loss, _ = self.objective.forward(batch, self.encoder)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())


def child(name: str, *sizes: str) -> None:
    """Make a step in this process; print peak MB, operations and the loss as JSON."""
    trained = Trained(name, *map(int, sizes))
    memory = harness.costs(trained.step, 1)["megabytes"]
    with FlopCounterMode(display=False) as counter:
        loss = trained.step()
    print(json.dumps({"megabytes": memory, "gigaflop": counter.get_total_flops() / 1e9, "loss": loss}))


def alternate(names: Sequence[str], rounds: int, *sizes: int) -> dict[str, list[float]]:
    """Return the processor seconds of steps; a round has one step per system, so that load affects all equally."""
    trained = {name: Trained(name, *sizes) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        order = [*names[number % len(names) :], *names[: number % len(names)]]
        for name in order:
            began = time.process_time()
            trained[name].step()
            seconds[name].append(time.process_time() - began)
    return seconds


def parameters() -> dict[str, int]:
    """Count the parameters of every system, with the real ViT-B/16."""
    counts = {}
    for name, system in SYSTEMS.items():
        with torch.device("meta"):
            model = system.build(backbone(1))
        counts[name] = sum(weight.numel() for weight in model.parameters())
    return counts


def main() -> None:
    """Measure every system, print and record the results."""
    args = harness.arguments(__doc__)
    report = harness.Report("training_step", seeds=[args.seed])
    divisor, videos, frames, rounds = (12, 2, 2, 3) if args.quick else (4, 4, 8, 5)
    sizes = (divisor, videos, frames, args.seed)
    names = [name for name in SYSTEMS if not (args.quick and name in FULL_ONLY)]
    seconds = alternate(names, rounds, *sizes)
    results = {name: harness.in_subprocess("benchmarks.speed.training_step", name, *map(str, sizes)) for name in names}
    counts, base = parameters(), results[CONTROL]
    paired = {n: [x / y for x, y in zip(seconds[n], seconds[CONTROL], strict=True)] for n in names}
    times, memories = (
        {n: median(x) for n, x in paired.items()},
        {n: x["megabytes"] / base["megabytes"] for n, x in results.items()},
    )
    for name, x in results.items():
        report.row(
            name=name,
            cpu_seconds=round(median(seconds[name]), 3),
            time_ratio=round(times[name], 3),
            least=round(min(paired[name]), 3),
            most=round(max(paired[name]), 3),
            operations_ratio=round(x["gigaflop"] / base["gigaflop"], 4),
            peak_megabytes=round(x["megabytes"], 1),
            memory_ratio=round(memories[name], 3),
            parameters=counts[name],
            parameter_ratio=round(counts[name] / counts[CONTROL], 4),
            loss=round(x["loss"], 4),
        )
    rivals = [name for name in results if name.startswith("CLIP4Clip")]
    ours = ("MoVA, paper", PUBLISHED, "MoVA, repaired", "MoVA, subsets")
    for name in (name for name in ours if name in results):
        for rival in rivals:
            ratio = times[name] / times[rival]
            report.claim(f"the paper's 0.83 in time: {name}, over {rival}", ratio, PAPER_TIME, ratio <= PAPER_TIME)
        cheap = times[name]
        report.claim(f"a step of {name} takes at most 1.15 of {CONTROL}", cheap, 1.15, cheap <= 1.15)
        lean = memories[name]
        report.claim(f"a step of {name} needs at most 1.15 the memory of {CONTROL}", lean, 1.15, lean <= 1.15)
    for name, published in PAPER_PARAMETERS.items():
        difference = abs(counts[name] / published - 1)
        text = f"the paper's {published / 1e6:.1f} M parameters: {name} (difference either way, share)"
        report.claim(text, difference, TOLERANCE, difference <= TOLERANCE)

    def plot(figure: Any) -> None:
        for axes, ratios, label in zip(
            figure.subplots(1, 2, sharey=True), (times, memories), ("time", "memory"), strict=True
        ):
            axes.barh(list(ratios), list(ratios.values()))
            axes.axvline(1.0, color="black", linewidth=1)
            axes.set_xlabel(f"{label} of a step (mean pool: 1)")
        figure.axes[0].invert_yaxis()  # shared
        figure.suptitle(
            f"A training step: ViT-B/16 with widths / {divisor}, {videos} videos of {frames} frames, one core"
        )

    report.finish(plot)


if __name__ == "__main__":
    main()
