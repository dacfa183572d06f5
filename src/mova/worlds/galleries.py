"""Short worlds with controlled captions: training batches and galleries for retrieval tests.

A video is a sequence of clips of one event each, with a filler at the end; every clip is a few consecutive samples. A
caption describes some of the events in order of time. There are two galleries: `easy` has unrelated videos, `hard` has
groups of four near duplicates (a base; an attribute swapped between two captioned events; one attribute changed; one
object changed). Members of a group differ in style and timing, and the caption always mentions the changed factor.

Shape legend: V videos, E events per video, S samples per clip, T = (E + 1) S samples per video, K sentences per
caption, L words.
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
from mova.worlds.captions import Claim, describe, holds
from mova.worlds.factors import FACTORS, Event, differing, draw_factor, facts, is_possible, mutate, sample_event
from mova.worlds.negatives import Line
from mova.worlds.nuisance import sample_nuisance
from mova.worlds.render import render_event, render_filler

EVENTS, SAMPLES, RATE = 6, 2, 2.0
"""Events per video, samples per clip, and samples per second, as in the training batches."""
MEMBERS = ("base", "swap", "attribute", "object")
ATTRIBUTES = ("colour", "size", "motion", "place", "count")
NEAR_SHARE = 0.5
"""Share of events without a sentence that differ from a captioned one in a single factor."""


@dataclass(frozen=True)
class Short:
    """A video before it is rendered, and its caption.

    Attributes:
        events: what happens, in order.
        captioned: ascending indices of the captioned events.
        lines: one sentence per captioned event.
        member: role in its group, one of `MEMBERS`; "" outside groups.
    """

    events: tuple[Event, ...]
    captioned: tuple[int, ...]
    lines: tuple[Line, ...]
    member: str = ""

    @property
    def sentences(self) -> list[str]:
        """The caption's sentences in order."""
        return [line.text for line in self.lines]

    def satisfies(self, lines: Sequence[Line]) -> bool:
        """Return whether each of the sentences is true of some event."""
        return all(any(holds(event, line.claim) for event in self.events) for line in lines)

    def truth(self, samples: int = SAMPLES) -> npt.NDArray[np.bool_]:
        """Return which samples each sentence is true of, (K, T)."""
        rows = [[holds(event, line.claim) for event in self.events] + [False] for line in self.lines]
        return np.repeat(np.array(rows), samples, axis=1)


def easy_gallery(rng: np.random.Generator, count: int, most: int = 3, least: int = 1) -> list[Short]:
    """Draw unrelated videos whose captions describe `least` to `most` events, each sentence true of its own event only.

    Example:
        >>> [short] = easy_gallery(np.random.default_rng(0), 1)
        >>> len(short.events), short.truth().shape[1]
        (6, 14)
    """
    return [_short(rng, int(rng.integers(least, most + 1))) for _ in range(count)]


def hard_gallery(rng: np.random.Generator, groups: int) -> list[Short]:
    """Draw groups of near duplicates, the members of each in the order of `MEMBERS`."""
    shorts: list[Short] = []
    while len(shorts) < groups * len(MEMBERS):
        shorts += _group(rng) or []
    return shorts


def render_shorts(
    shorts: Sequence[Short], rng: np.random.Generator, styles: Sequence[str], size: int = 64
) -> npt.NDArray[np.uint8]:
    """Render every sample stacked with its neighbors, half a second apart; the ends of a clip are repeated.

    All videos must have the same number of events.

    Returns:
        uint8 (V, T, 9, size, size).
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
    """A data set whose item i is a whole batch of videos and paragraphs, from `WorldsBatches` of the same seed.

    Args:
        seed, batches, videos, image_size: as for `WorldsBatches`.

    An item holds `frames` uint8 (V, T, 9, h, w), samples stacked with their neighbors; `frame_mask` bool (V, T);
    `input_ids` int64 (V, L), the sentences of the paragraph in order of time; `token_mask` bool; `unit_ids` (V, K, M),
    the sentences separately; `unit_token_mask`, `unit_mask` bool; `group` int64 (V,), all different; `dropped` int64
    (V,), all 0.
    """

    def __init__(self, seed: int, batches: int, videos: int = 16, image_size: int = 64) -> None:
        self.source = WorldsBatches(seed, batches, videos, EVENTS, SAMPLES, image_size=image_size, frame_rate=RATE)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return batch `index`; keys and shapes are those of the class."""
        batch, videos = self.source[index], self.source.videos
        order = torch.argsort(batch["video"], stable=True)
        stacks = batch["stacks"][order]
        ids, mask = batch["input_ids"], batch["attention_mask"].bool()
        sentences = [sorted(row[row >= 0].tolist()) for row in batch["paragraphs"]]
        most = max(map(len, sentences))
        unit_mask = torch.tensor([[k < len(row) for k in range(most)] for row in sentences])
        index_of = torch.tensor([row + [0] * (most - len(row)) for row in sentences])
        unit_ids, unit_tokens = ids[index_of], mask[index_of] & unit_mask.unsqueeze(-1)
        paragraphs = [unit_ids[v][unit_tokens[v]] for v in range(videos)]
        input_ids = torch.nn.utils.rnn.pad_sequence(paragraphs, batch_first=True)
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


def _short(rng: np.random.Generator, sentences: int) -> Short:
    """Draw a video with this number of captioned events among near duplicates and unrelated events."""
    captioned = [sample_event(rng) for _ in range(sentences)]
    indices = tuple(sorted(rng.permutation(EVENTS)[:sentences].tolist()))
    events: list[Event] = []
    for i in range(EVENTS):
        events.append(captioned[indices.index(i)] if i in indices else _distractor(captioned, rng))
    lines = tuple(true_line(event, events, rng) for event in captioned)
    return Short(tuple(events), indices, lines)


def _distractor(captioned: Sequence[Event], rng: np.random.Generator) -> Event:
    """Draw an event without a sentence, often a near duplicate of a captioned event."""
    while True:
        near = captioned[int(rng.integers(len(captioned)))]
        event = mutate(near, draw_factor(near, rng), rng) if rng.random() < NEAR_SHARE else sample_event(rng)
        if event not in captioned:
            return event


def true_line(event: Event, events: Sequence[Event], rng: np.random.Generator, must: Sequence[str] = ()) -> Line:
    """Draw a sentence about an event that is true of no other of `events`; it mentions all factors if necessary."""
    wording = int(rng.integers(2**31))
    apart = [differing(event, other) for other in events]
    needed = {*must, *(names[0] for names in apart if len(names) == 1)}
    for _ in range(20):
        claim = Claim(event, describe(event, rng, must=[name for name in needed if facts(event)[name]]).mentioned)
        if not any(holds(other, claim) for other in events if other != event):
            return Line(claim, wording)
    return Line(Claim(event, describe(event, rng, mention=tuple(FACTORS)).mentioned), wording)


def _group(rng: np.random.Generator) -> list[Short] | None:
    """Draw a base and three near duplicates; None if the drawn base does not allow them."""
    base = _short(rng, int(rng.integers(2, 4)))
    base_event, second_event = (base.events[i] for i in base.captioned[:2])
    swaps = [
        (
            replace(base_event, **{name: getattr(second_event, name)}),
            replace(second_event, **{name: getattr(base_event, name)}),
            name,
        )
        for name in ATTRIBUTES
        if getattr(base_event, name) != getattr(second_event, name)
    ]
    swaps = [swap for swap in swaps if is_possible(swap[0]) and is_possible(swap[1])]
    if not swaps:
        return None
    first, second, swapped = swaps[int(rng.integers(len(swaps)))]
    attribute = ATTRIBUTES[int(rng.integers(len(ATTRIBUTES)))]
    changes = {
        "base": {},
        "swap": {base.captioned[0]: first, base.captioned[1]: second},
        "attribute": {base.captioned[0]: mutate(base_event, attribute, rng)},
        "object": {base.captioned[1]: mutate(second_event, "shape", rng)},
    }
    must = {base.captioned[0]: (swapped, attribute), base.captioned[1]: (swapped, "shape")}
    mentioned = [true_line(base.events[i], base.events, rng, must.get(i, ())).claim.mentioned for i in base.captioned]
    members = []
    for member in MEMBERS:
        events = tuple(changes[member].get(i, event) for i, event in enumerate(base.events))
        lines = tuple(
            Line(Claim(events[i], describe(events[i], rng, mention=factors).mentioned), int(rng.integers(2**31)))
            for i, factors in zip(base.captioned, mentioned, strict=True)
        )
        members.append(Short(events, base.captioned, lines, member))
    return members
