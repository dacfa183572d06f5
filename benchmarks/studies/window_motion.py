"""Does an encoder of windows know motion and order better than the same encoder of single frames?

Both are trained on Worlds from the same clips and sentences, in equally many steps, and have the same weights to train:
a network that reads eight frames (4 s) side by side, and a text tower that starts from nothing. What it reads of a
frame are the patches of the frame tower of `mova-worlds-tiny`, which is frozen and gets every frame three times in
place of its neighbors, so that no motion is in them. Three arms:

- "windows": the network sees the eight frames of a clip in their order;
- "frames": it sees one frame at a time, repeated eight times, as mova does where a video is shorter than a window; a
  clip is the mean of the unit vectors of its frames (CLIP4Clip's mean pooling);
- "shuffled": it sees the eight frames in a random order, in training and in the questions.

Training pairs are clips that differ in the motion, in another fact, or in the order of two events; both clips of a pair
are in one batch. Questions are new draws. In a question about a pair, a text chooses one of two clips; in "of ten",
a clip chooses among sentences that differ in the motion alone. "Order, whole text" compares one vector of "A. Then, B."
with clips of both events, whose frames are the same in the other order: the mean of frames is at chance by
construction. "Order, sentence by sentence" has videos of 8 s and both sentences apart: the order score of the evidence
rule decides (`mova.scoring.similarity.order_score`). Windows begin every second there.

Shape legend: C clips, T frames, W windows, n frames per window, F numbers that are read of a frame, N texts, L words,
d shared width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.common import harness
from mova.losses.contrastive import symmetric_nce
from mova.models.registry import load
from mova.models.worlds_tiny.model import WorldsTiny
from mova.models.worlds_tiny.towers import TextTower, WorldsTinyConfig
from mova.scoring.pooling import masked_mean
from mova.scoring.similarity import order_score, unit
from mova.types import Pixels
from mova.worlds.captions import describe, open_with
from mova.worlds.factors import Event, alternatives, facts, is_possible, mutate, sample_event
from mova.worlds.nuisance import Nuisance, sample_nuisance
from mova.worlds.render import TRAIN_STYLES, render_event

FRAMES, RATE, SIZE = 8, 2.0, 64
"""Frames per window, frames per second, and pixels."""
LONG, STRIDE = 16, 2
"""Frames of the videos that are asked sentence by sentence, and from one window to the next."""
ARMS = ("windows", "frames", "shuffled")
OPPOSITE = (("left_to_right", "right_to_left"), ("rising", "falling"), ("growing", "shrinking"))
"""Motions that the same frames show, in the other order."""
QUESTIONS = ("motion", "opposite motion", "other fact", "order, whole text")
BATCH_PAIRS, RATE_OF_LEARNING, WARM_UP = 64, 1e-3, 0.1
TEMPERATURE = 0.05
HELD_OUT = 700_000
"""Questions are drawn from seeds that start here, as in `mova.eval.tasks.worlds`."""


class Shown(NamedTuple):
    """Consecutive frames of an event: how it looks, how long it lasts, and times (T,) in seconds from its start."""

    event: Event
    look: Nuisance
    duration: float
    times: Sequence[float]


class Pair(NamedTuple):
    """Two clips, the texts that are true of each, the style of both, and the seed of the words of both texts."""

    clips: tuple[list[Shown], list[Shown]]
    texts: tuple[str, str]
    style: str
    wording: int


@dataclass(frozen=True)
class Sizes:
    """How much is drawn and trained."""

    pairs: int = 2000
    steps: int = 600
    questions: int = 200


def applicable(event: Event) -> list[str]:
    """Return the factors that apply to an event."""
    return [name for name, value in facts(event).items() if value is not None]


def say(event: Event, wording: int, mention: Sequence[str] | None = None) -> str:
    """Describe an event, with all its facts unless `mention` names some."""
    return describe(event, np.random.default_rng(wording), mention=mention or applicable(event)).text


def style_of(rng: np.random.Generator) -> str:
    """Draw a style of training."""
    return TRAIN_STYLES[int(rng.integers(len(TRAIN_STYLES)))]


def sampled(rng: np.random.Generator, count: int) -> tuple[float, list[float]]:
    """Draw the duration of an event, and times of consecutive samples in it."""
    length = (count - 1) / RATE
    duration = rng.uniform(length + 0.5, length + 2.5)
    first = rng.uniform(0, duration - length)
    return duration, [first + k / RATE for k in range(count)]


def fact_pair(rng: np.random.Generator, choose: Callable[[np.random.Generator], tuple[Event, Event]]) -> Pair:
    """Draw clips of two events with the same look and times, and a sentence of each in the same words."""
    event, other = choose(rng)
    look, (duration, times), wording = sample_nuisance(rng), sampled(rng, FRAMES), int(rng.integers(2**31))
    clips = [Shown(event, look, duration, times)], [Shown(other, look, duration, times)]
    return Pair(clips, (say(event, wording), say(other, wording)), style_of(rng), wording)


def differ_in_motion(rng: np.random.Generator) -> tuple[Event, Event]:
    """Draw two events that differ in the motion."""
    event = sample_event(rng)
    return event, mutate(event, "motion", rng)


def opposite(rng: np.random.Generator) -> tuple[Event, Event]:
    """Draw two events with opposite motions."""
    motions = rng.permutation(OPPOSITE[int(rng.integers(len(OPPOSITE)))]).tolist()
    while True:
        drawn = sample_event(rng)
        event, other = (replace(drawn, motion=motion) for motion in motions)
        if is_possible(event) and is_possible(other):
            return event, other


def differ_in_fact(rng: np.random.Generator) -> tuple[Event, Event]:
    """Draw two events that differ in a fact other than the motion."""
    while True:
        event = sample_event(rng)
        names = [name for name in applicable(event) if name != "motion" and alternatives(event, name)]
        return event, mutate(event, names[int(rng.integers(len(names)))], rng)


def order_pair(rng: np.random.Generator, frames: int = FRAMES) -> Pair:
    """Draw two events of different shapes, one after the other, and both in the other order."""
    first, second = sample_event(rng), sample_event(rng)
    while second.shape == first.shape:
        second = sample_event(rng)
    cut = frames // 2 + int(rng.integers(-1, 2))
    wording = int(rng.integers(2**31))
    counts = zip((first, second), (cut, frames - cut), strict=True)
    shown = [Shown(event, sample_nuisance(rng), *sampled(rng, count)) for event, count in counts]
    said = [say(part.event, wording + k, ("colour", "motion")) for k, part in enumerate(shown)]
    texts = [f"{said[k]} {open_with(said[1 - k], 'then')}" for k in range(2)]
    return Pair((shown, shown[::-1]), (texts[0], texts[1]), style_of(rng), wording)


DRAWS: dict[str, Callable[[np.random.Generator], Pair]] = {
    "motion": partial(fact_pair, choose=differ_in_motion),
    "opposite motion": partial(fact_pair, choose=opposite),
    "other fact": partial(fact_pair, choose=differ_in_fact),
    "order, whole text": order_pair,
}
TRAINING = ("motion", "opposite motion", "other fact", "order, whole text")
"""Kinds of the training pairs, in turns."""


def pixels_of(clip: Sequence[Shown], style: str) -> Pixels:
    """Render a clip: uint8 (T, SIZE, SIZE, 3)."""
    return np.concatenate([render_event(s.event, s.look, style, s.times, s.duration, SIZE) for s in clip])


@torch.no_grad()
def read(model: WorldsTiny, pairs: Sequence[Pair]) -> Tensor:
    """Render the clips of pairs and return the states of every patch of every frame: float16 (C, T, F)."""
    rows = []
    for pair in pairs:
        for clip in pair.clips:
            small = torch.from_numpy(pixels_of(clip, pair.style)).permute(0, 3, 1, 2)
            with torch.autocast("cpu", torch.bfloat16):
                states = model.dense_images(small.repeat(1, 3, 1, 1))
            rows.append(F.layer_norm(states.float(), states.shape[-1:]).flatten(1).half())
    return torch.stack(rows)


class Encoder(nn.Module):
    """A network over the frames of a window, side by side, and a text tower; both end in one space.

    The positions of words start as large as words: from small ones, the order of two sentences was not learned.

    Args:
        model: its vocabulary is used.
        numbers: F.
        arm: one of `ARMS`.
    """

    def __init__(
        self, model: WorldsTiny, numbers: int, arm: str, width: int = 128, hidden: int = 512, shared: int = 128
    ) -> None:
        super().__init__()
        self.arm = arm
        self.frame = nn.Sequential(nn.Linear(numbers, width), nn.LayerNorm(width))
        self.mix = nn.Sequential(
            nn.Linear(FRAMES * width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden)
        )
        self.project = nn.Linear(hidden, shared)
        self.text_tower = TextTower(WorldsTinyConfig(model.config.vocabulary, hidden_size=width, embedding_dim=shared))
        nn.init.normal_(self.text_tower.positions, std=0.5)

    def windows(self, windows: Tensor) -> Tensor:
        """Encode windows (W, FRAMES, F), or single frames (W, 1, F), which are repeated: (W, d), unit vectors."""
        frames = self.frame(windows).expand(-1, FRAMES, -1)
        return unit(self.project(self.mix(frames.flatten(1))).float())

    def clips(self, clips: Tensor) -> Tensor:
        """Encode clips (C, FRAMES, F) as the arm does: (C, d), unit vectors."""
        if self.arm == "frames":
            vectors = self.windows(clips.flatten(0, 1).unsqueeze(1)).view(*clips.shape[:2], -1)
            return unit(vectors.mean(dim=1))
        if self.arm == "shuffled":
            order = torch.rand(clips.shape[:2]).argsort(dim=1)
            clips = clips.gather(1, order.unsqueeze(-1).expand_as(clips))
        return self.windows(clips)

    def texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode ids and mask (N, L): (N, d), unit vectors."""
        return unit(masked_mean(self.text_tower(ids, mask).float(), mask))

    def moments(self, video: Tensor) -> Tensor:
        """Encode a long video (T, F) to the vectors of its frames or of its windows: (W, d)."""
        if self.arm == "frames":
            return self.windows(video.unsqueeze(1))
        return self.clips(video.unfold(0, FRAMES, STRIDE).transpose(1, 2))


def train(encoder: Encoder, features: Tensor, ids: Tensor, mask: Tensor, steps: int, seed: int) -> float:
    """Train on batches of whole pairs, and return the mean loss of the last tenth of the steps."""
    draws = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=RATE_OF_LEARNING, weight_decay=0.01)
    warm = max(1, round(WARM_UP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min((k + 1) / warm, 0.5 * (1 + np.cos(np.pi * k / steps)))
    )
    losses: list[float] = []
    order = torch.empty(0, dtype=torch.long)
    pairs = len(features) // 2
    for _ in range(steps):
        if len(order) < min(BATCH_PAIRS, pairs):
            order = torch.randperm(pairs, generator=draws)
        chosen, order = order[:BATCH_PAIRS], order[BATCH_PAIRS:]
        rows = (2 * chosen[:, None] + torch.arange(2)).flatten()
        with torch.autocast("cpu", torch.bfloat16):
            clips, texts = encoder.clips(features[rows].bfloat16()), encoder.texts(ids[rows], mask[rows])
        loss = symmetric_nce(clips @ texts.T / TEMPERATURE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses[-max(1, steps // 10) :]))


class Questions(NamedTuple):
    """Questions of one seed: pairs and features by kind, and long videos."""

    pairs: dict[str, list[Pair]]
    features: dict[str, Tensor]
    long: list[Pair]
    videos: Tensor


def questions(model: WorldsTiny, seed: int, count: int) -> Questions:
    """Draw and encode questions."""
    rng = np.random.default_rng(HELD_OUT + seed)
    pairs = {kind: [DRAWS[kind](rng) for _ in range(count)] for kind in QUESTIONS}
    long = [order_pair(rng, LONG) for _ in range(count // 2)]
    return Questions(pairs, {kind: read(model, rows) for kind, rows in pairs.items()}, long, read(model, long))


def share(right: Tensor, wrong: Tensor) -> float:
    """Return how often a score is above another one, in percent; ties count half."""
    difference = torch.where((right - wrong).abs() < 1e-5, 0.0, right - wrong)
    return 100 * float((0.5 + 0.5 * difference.sign()).mean())


@torch.no_grad()
def answers(encoder: Encoder, model: WorldsTiny, asked: Questions) -> dict[str, float]:
    """Return the share of right answers by kind of question, in percent."""

    def texts(rows: Sequence[str]) -> Tensor:
        ids, mask, _ = model.token_ids(rows)
        return encoder.texts(ids, mask)

    found = {}
    for kind, pairs in asked.pairs.items():
        clips = torch.cat([encoder.clips(part.float()) for part in asked.features[kind].split(128)]).unflatten(
            0, (-1, 2)
        )
        said = texts([text for pair in pairs for text in pair.texts]).view_as(clips)
        found[kind] = share((said * clips).sum(-1), (said * clips.flip(1)).sum(-1))
        if kind == "motion":
            chosen = [(texts(of_ten(pair)) @ clip).argmax() == 0 for pair, clip in zip(pairs, clips[:, 0], strict=True)]
            found["motion, of ten"] = 100 * float(np.mean(chosen))
    orders = []
    videos = zip(asked.videos, [text for pair in asked.long for text in pair.texts], strict=True)
    for video, text in videos:
        curves = texts(text.split(" Then, ")) @ encoder.moments(video.float()).T
        orders.append(torch.stack([order_score(curves), order_score(curves.flip(0))]))
    found["order, sentence by sentence"] = share(*torch.stack(orders).T)
    return found


def of_ten(pair: Pair) -> list[str]:
    """Return the sentence of the first clip of a pair, and the same about all other motions that are possible."""
    event = pair.clips[0][0].event
    return [say(other, pair.wording, applicable(event)) for other in (event, *alternatives(event, "motion"))]


def run(seed: int, quick: bool) -> dict[str, Any]:
    """Train and ask all arms with one seed."""
    sizes = Sizes(pairs=96, steps=20, questions=12) if quick else Sizes()
    model, rng = load("mova-worlds-tiny", device="cpu"), np.random.default_rng(seed)
    pairs = [DRAWS[TRAINING[k % len(TRAINING)]](rng) for k in range(sizes.pairs)]
    ids, mask, _ = model.token_ids([text for pair in pairs for text in pair.texts])
    features, asked = read(model, pairs), questions(model, seed, sizes.questions)
    result: dict[str, Any] = {}
    for arm in ARMS:
        torch.manual_seed(seed)
        encoder, began = Encoder(model, features.shape[-1], arm), time.process_time()
        loss = train(encoder, features, ids, mask, sizes.steps, seed)
        row = {"loss": loss, "seconds of training": time.process_time() - began}
        result[arm] = {**answers(encoder.eval(), model, asked), **row}
        result["weights"] = sum(p.numel() for p in encoder.parameters())
    return result


def main() -> None:
    """Run all seeds, and report."""
    args = harness.runs_parser(__doc__).parse_args()
    torch.set_num_threads(1)
    runs = harness.seed_runs(args, run)
    if args.only_run:
        return
    report = harness.Report("window_motion", harness.seeds_of(args))
    kinds = [kind for kind in runs[0]["windows"] if kind not in ("loss", "seconds of training")]
    for arm in ARMS:
        values = {name: [float(one[arm][name]) for one in runs] for name in runs[0][arm]}
        report.row(
            name=arm,
            **{name: float(np.mean(row)) for name, row in values.items()},
            **{f"{kind}, deviation": float(np.std(values[kind])) for kind in kinds},
            weights=runs[0]["weights"],
        )

    def gain(kind: str, other: str) -> list[float]:
        return [one["windows"][kind] - one[other][kind] for one in runs]

    for kind in ("motion, of ten", "motion", "opposite motion", "order, whole text"):
        least = min(gain(kind, "frames"))
        report.claim(f"{kind}: windows above frames, in points, in every seed", least, 0.0, least > 0)
    for kind in ("opposite motion", "order, whole text"):
        least = min(gain(kind, "shuffled"))
        report.claim(f"{kind}: windows above shuffled windows, in points, in every seed", least, 0.0, least > 0)
    for kind in ("other fact", "order, sentence by sentence"):
        mean = float(np.mean(gain(kind, "frames")))
        report.claim(f"{kind}: windows at most 3 points below frames, mean", mean, -3.0, mean >= -3)
    report.finish(None, ("name", *kinds), seconds=sum(one["seconds"] for one in runs))


if __name__ == "__main__":
    main()
