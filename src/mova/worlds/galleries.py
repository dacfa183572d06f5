"""Short worlds whose captions differ by design: batches to train on, and galleries to test retrieval.

A video is a row of clips of one event each and a filler at the end; every clip is seen as a few consecutive samples.
A caption tells some of the events in order of time. Two galleries: `easy`, unrelated videos; `hard`, groups of four
near duplicates (a base; an attribute swapped between two told events; one attribute changed; one object changed), each
with a look and timing of its own, the changed fact always told.

Shape legend: V videos, E events a video, S samples a clip, T = (E + 1) S samples a video, K told sentences, L words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mova.worlds.batches import SECONDS, WorldsBatches
from mova.worlds.captions import Claim, holds, tell
from mova.worlds.factors import FACTORS, Event, differing, facts, is_possible, mutate, sample_event
from mova.worlds.negatives import Line
from mova.worlds.nuisance import sample_nuisance
from mova.worlds.render import render_event, render_filler

EVENTS, SAMPLES, RATE = 6, 2, 2.0
"""Events a video, samples a clip, and samples a second: those of the batches that are trained on."""
MEMBERS = ("base", "swap", "attribute", "object")
ATTRIBUTES = ("colour", "size", "motion", "place", "count")
NEAR_SHARE = 0.5
"""Share of untold events that differ from a told one in a single fact."""


@dataclass(frozen=True)
class Short:
    """A video before it is rendered, and its caption.

    Attributes:
        events: what happens, in order.
        told: indices of the told events, rising.
        lines: a sentence for each of them.
        member: which of `MEMBERS` it is; "" outside of groups.
    """

    events: tuple[Event, ...]
    told: tuple[int, ...]
    lines: tuple[Line, ...]
    member: str = ""

    @property
    def sentences(self) -> list[str]:
        """The caption's sentences in order."""
        return [line.text for line in self.lines]

    def shows(self, lines: Sequence[Line]) -> bool:
        """Whether every one of some sentences is true of some event."""
        return all(any(holds(event, line.claim) for event in self.events) for line in lines)

    def truth(self, samples: int = SAMPLES) -> npt.NDArray[np.bool_]:
        """(K, T): the samples of which each sentence is true."""
        rows = [[holds(event, line.claim) for event in self.events] + [False] for line in self.lines]
        return np.repeat(np.array(rows), samples, axis=1)


def easy_gallery(rng: np.random.Generator, count: int, most: int = 3) -> list[Short]:
    """Unrelated videos whose captions tell 1 to `most` events, each sentence true of its own event alone."""
    return [_short(rng, int(rng.integers(1, most + 1))) for _ in range(count)]


def hard_gallery(rng: np.random.Generator, groups: int) -> list[Short]:
    """Groups of `MEMBERS`, in that order."""
    found: list[Short] = []
    while len(found) < groups * len(MEMBERS):
        found += _group(rng) or []
    return found


def render_shorts(
    shorts: Sequence[Short], rng: np.random.Generator, styles: Sequence[str], size: int = 64
) -> npt.NDArray[np.uint8]:
    """uint8 (V, T, 9, size, size): every sample between its neighbours, half a second away; ends are repeated.

    All videos must have the same number of events.
    """
    videos = np.empty((len(shorts), (len(shorts[0].events) + 1) * SAMPLES, 9, size, size), dtype=np.uint8)
    for video, short in zip(videos, shorts, strict=True):
        style = styles[int(rng.integers(len(styles)))]
        for clip, event in enumerate((*short.events, None)):
            duration = rng.uniform(*SECONDS)
            first = rng.uniform(0, duration - (SAMPLES - 1) / RATE)
            times = np.clip(first + np.arange(-1, SAMPLES + 1) / RATE, 0, duration)
            look = sample_nuisance(rng)
            if event is None:
                frames = render_filler(rng, look, style, times, duration, size)
            else:
                frames = render_event(event, look, style, times, duration, size)
            channels = frames.transpose(0, 3, 1, 2)
            for s in range(SAMPLES):
                video[clip * SAMPLES + s] = channels[s : s + 3].reshape(9, size, size)
    return videos


class WorldsPairs(Dataset[dict[str, Tensor]]):
    """Item i is a whole batch of videos and paragraphs, from `WorldsBatches` of the same seed.

    Args:
        seed, batches, videos: as there.

    Returns (by `[i]`): `frames` uint8 (V, T, 9, h, w), samples between their neighbours; `frame_mask` bool (V, T);
    `input_ids` int64 (V, L), the sentences of the paragraph in order of time; `token_mask` bool; `unit_ids` (V, K, M),
    its sentences, `unit_token_mask`, `unit_mask` bool; `group`, `dropped` int64 (V,), all different and all 0.
    """

    def __init__(self, seed: int, batches: int, videos: int = 16) -> None:
        self.source = WorldsBatches(seed, batches, videos, EVENTS, SAMPLES, frame_rate=RATE)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """See the class."""
        batch, videos = self.source[index], self.source.videos
        order = torch.argsort(batch["video"], stable=True)
        stacks = batch["stacks"][order]
        ids, mask = batch["input_ids"], batch["attention_mask"].bool()
        told = [sorted(row[row >= 0].tolist()) for row in batch["paragraphs"]]
        most = max(map(len, told))
        unit_mask = torch.tensor([[k < len(row) for k in range(most)] for row in told])
        index_of = torch.tensor([row + [0] * (most - len(row)) for row in told])
        unit_ids, unit_tokens = ids[index_of], mask[index_of] & unit_mask.unsqueeze(-1)
        whole = [unit_ids[v][unit_tokens[v]] for v in range(videos)]
        input_ids = torch.nn.utils.rnn.pad_sequence(whole, batch_first=True)
        return {
            "frames": stacks.view(videos, -1, *stacks.shape[1:]),
            "frame_mask": torch.ones(videos, len(stacks) // videos, dtype=torch.bool),
            "input_ids": input_ids,
            "token_mask": input_ids > 0,
            "unit_ids": unit_ids * unit_tokens,
            "unit_token_mask": unit_tokens,
            "unit_mask": unit_mask,
            "group": torch.arange(videos),
            "dropped": torch.zeros(videos, dtype=torch.int64),
        }


def _short(rng: np.random.Generator, sentences: int, told_events: Sequence[Event] | None = None) -> Short:
    """A video with so many told events among near duplicates and others."""
    told_events = told_events or [sample_event(rng) for _ in range(sentences)]
    told = tuple(sorted(rng.permutation(EVENTS)[:sentences].tolist()))
    events: list[Event] = []
    for i in range(EVENTS):
        events.append(told_events[told.index(i)] if i in told else _untold(told_events, rng))
    lines = tuple(true_line(event, events, rng) for event in told_events)
    return Short(tuple(events), told, lines)


def _untold(told: Sequence[Event], rng: np.random.Generator) -> Event:
    """An event that no sentence tells, often a near duplicate of one that a sentence tells."""
    while True:
        near = told[int(rng.integers(len(told)))]
        event = mutate(near, _applicable(near, rng), rng) if rng.random() < NEAR_SHARE else sample_event(rng)
        if event not in told:
            return event


def true_line(event: Event, shown: Sequence[Event], rng: np.random.Generator, must: Sequence[str] = ()) -> Line:
    """A sentence about an event that is true of none of the others shown (all facts are told should that need it)."""
    wording = int(rng.integers(2**31))
    apart = [differing(event, other) for other in shown]
    needed = {*must, *(names[0] for names in apart if len(names) == 1)}
    for _ in range(20):
        claim = Claim(event, tell(event, rng, must=[name for name in needed if facts(event)[name]]).mentioned)
        if not any(holds(other, claim) for other in shown if other != event):
            return Line(claim, wording)
    return Line(Claim(event, tell(event, rng, mention=tuple(FACTORS)).mentioned), wording)


def _applicable(event: Event, rng: np.random.Generator) -> str:
    names = [name for name, value in facts(event).items() if value is not None]
    return names[int(rng.integers(len(names)))]


def _group(rng: np.random.Generator) -> list[Short] | None:
    """A base and three near duplicates; None where the draw does not allow them."""
    base = _short(rng, int(rng.integers(2, 4)))
    one, other = (base.events[i] for i in base.told[:2])
    swaps = [
        (replace(one, **{name: getattr(other, name)}), replace(other, **{name: getattr(one, name)}), name)
        for name in ATTRIBUTES
        if getattr(one, name) != getattr(other, name)
    ]
    swaps = [swap for swap in swaps if is_possible(swap[0]) and is_possible(swap[1])]
    if not swaps:
        return None
    first, second, swapped = swaps[int(rng.integers(len(swaps)))]
    attribute = ATTRIBUTES[int(rng.integers(len(ATTRIBUTES)))]
    changes = {
        "base": {},
        "swap": {base.told[0]: first, base.told[1]: second},
        "attribute": {base.told[0]: mutate(one, attribute, rng)},
        "object": {base.told[1]: mutate(other, "shape", rng)},
    }
    must = {base.told[0]: (swapped, attribute), base.told[1]: (swapped, "shape")}
    mentioned = [true_line(base.events[i], base.events, rng, must.get(i, ())).claim.mentioned for i in base.told]
    members = []
    for member in MEMBERS:
        events = tuple(changes[member].get(i, event) for i, event in enumerate(base.events))
        lines = tuple(
            Line(Claim(events[i], tell(events[i], rng, mention=said).mentioned), int(rng.integers(2**31)))
            for i, said in zip(base.told, mentioned, strict=True)
        )
        members.append(Short(events, base.told, lines, member))
    return members
