"""Clips of three events with one sentence each, small enough that a diffusion model learns them on one core.

A clip is three events of two frames. An event is one large object with a shape, a color, a place and a direction, each
one of four values, and its sentence mentions all of them. Sentences are in order of time, with connectives of Worlds.
The same frames exist twice: small for the generator, and at the size of the encoder with their neighbors in time.

Shape legend: E events of a pool, F frames per event, N clips, K sentences per clip, T = K F frames per clip, s side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mova.types import Pixels
from mova.worlds.captions import connect, describe, words
from mova.worlds.factors import Event
from mova.worlds.nuisance import Nuisance, sample_nuisance
from mova.worlds.render import render_event

VALUES: dict[str, tuple[str, ...]] = {
    "place": ("night", "forest", "desert", "snow"),
    "color": ("red", "yellow", "blue", "purple"),
    "shape": ("square", "cross", "ring", "heart"),
    "motion": ("left_to_right", "right_to_left", "rising", "falling"),
}
"""The factors and their values. With four values each, a guess is right in 25 % of cases."""
MENTION = ("place", "colour", "shape", "motion")
POSITIONS = ("first", "middle", "last")
"""Place of a sentence in its clip, which chooses the connective."""
SENTENCES, FRAMES = len(POSITIONS), 2
SIDE, SEEN, EDGE = 16, 64, 8
"""Side of a frame in pixels, for the generator and for the encoder, and the edge that the generator's frame lacks."""
SECONDS, TIMES, STEP = 4.0, (0.5, 3.5), 0.5
"""Duration of an event, the times of its frames, and the distance of their neighbors in the encoder's stacks."""
STYLE = "flat"
MOST_WORDS = 48
"""Words that the encoder reads; prompts are drawn again if they are longer."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """Rendered events.

    Attributes:
        facts: (E, factors), index of each factor's value in `VALUES`.
        pixels: uint8 (E, F, s, s, 3), for the generator.
        stacks: uint8 (E, F, 9, S, S), for the encoder.
    """

    facts: Ints
    pixels: Pixels
    stacks: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Clips:
    """Clips of a pool.

    Attributes:
        events: (N, K), indices into the pool.
        sentences: N lists of K sentences.
    """

    events: Ints
    sentences: list[list[str]]

    @property
    def prompts(self) -> list[str]:
        """The text of each clip."""
        return [" ".join(sentences) for sentences in self.sentences]


def event_of(facts: Ints) -> Event:
    """Return the event with these values.

    Example:
        >>> event_of(np.array([0, 1, 2, 3]))
        Event(shape='ring', colour='yellow', size='large', motion='falling', place='night', count=1, relation=None)
    """
    place, color, shape, motion = (values[i] for values, i in zip(VALUES.values(), facts.tolist(), strict=True))
    return Event(shape, color, "large", motion, place)


def calm(rng: np.random.Generator) -> Nuisance:
    """Draw nuisances without those of camera and scenery, which would take most of so small a frame."""
    still = {"variant": 0, "flip": False, "drift": (0.0, 0.0), "noise": 0, "vignette": 0.0, "clutter": 0}
    return replace(sample_nuisance(rng), **still)


def draw_pool(rng: np.random.Generator, count: int) -> Pool:
    """Render events that are drawn uniformly."""
    facts = np.stack([rng.integers(len(values), size=count) for values in VALUES.values()], axis=1)
    around = np.array([t + offset for t in TIMES for offset in (-STEP, 0.0, STEP)])
    stacks = np.empty((count, FRAMES, 9, SEEN, SEEN), dtype=np.uint8)
    pixels = np.empty((count, FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    for row, stack, small in zip(facts, stacks, pixels, strict=True):
        frames = render_event(event_of(row), calm(rng), STYLE, around, SECONDS, SEEN)
        stack[:] = frames.transpose(0, 3, 1, 2).reshape(FRAMES, 9, SEEN, SEEN)
        small[:] = shrink(frames[1::3])
    return Pool(facts, pixels, stacks)


def shrink(frames: Pixels) -> Pixels:
    """Cut the edges off, and average blocks of pixels: (T, S, S, 3) -> (T, s, s, 3)."""
    inner = frames[:, EDGE:-EDGE, EDGE:-EDGE]
    block = inner.shape[1] // SIDE
    means = inner.reshape(len(frames), SIDE, block, SIDE, block, 3).mean(axis=(2, 4))
    return np.rint(means).astype(np.uint8)


def draw_clips(rng: np.random.Generator, pool: Pool, count: int) -> Clips:
    """Draw clips of a pool; no two events of a clip are equal in all factors."""
    events, sentences = [], []
    while len(events) < count:
        chosen = rng.integers(len(pool.facts), size=SENTENCES)
        if len({tuple(row) for row in pool.facts[chosen].tolist()}) < SENTENCES:
            continue
        prompt = [tell(pool.facts[i], position, rng) for i, position in zip(chosen, POSITIONS, strict=True)]
        if len(words(" ".join(prompt))) <= MOST_WORDS:
            events.append(chosen)
            sentences.append(prompt)
    return Clips(np.array(events), sentences)


def tell(facts: Ints, position: str, rng: np.random.Generator) -> str:
    """Write the sentence of an event; all but the first open with a connective."""
    text = describe(event_of(facts), rng, mention=MENTION).text
    return text if position == POSITIONS[0] else connect(text, position, rng)


def clip_pixels(pool: Pool, clips: Clips) -> Pixels:
    """Return the small frames of clips: uint8 (N, T, s, s, 3)."""
    return pool.pixels[clips.events].reshape(len(clips.events), SENTENCES * FRAMES, SIDE, SIDE, 3)
