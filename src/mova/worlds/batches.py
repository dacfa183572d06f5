"""Training batches from Worlds, rendered on demand: stacks of frames, sentences, and which sentence is true of which.

A batch is a set of short videos. Each has a few clips of one event each (some in minimal pairs that differ in a single
mentioned factor) and one filler clip that no sentence describes. Every event clip has its own sentence and a hard
negative with one factor changed. All facts are known, so sentences that happen to be true of another clip are marked.

Shape legend: V videos, E events per video, S stacks per clip, C = V (E + 1) clips, T = C S stacks in total,
N = 2 V E sentences (the positive ones first, then the negatives), L words, P sentences per paragraph, F factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mova.worlds.captions import INVERSE, OPENINGS, VOCABULARY, connect, describe, words
from mova.worlds.factors import FACTORS, Event, labels, mutate, sample_event
from mova.worlds.nuisance import Nuisance, sample_nuisance
from mova.worlds.render import TRAIN_STYLES, render_event, render_filler

Ints = npt.NDArray[np.int64]
FACTOR_WEIGHTS = {"shape": 3.0, "relation": 3.0, "motion": 2.0, "size": 1.5, "place": 1.0, "count": 1.0, "colour": 1.0}
"""How often a minimal pair or a negative changes each factor; factors learned last have the largest weights."""
SECONDS = (2.5, 6.0)
"""Shortest and longest event."""
CONNECTED = 0.2
"""Share of sentences that open with a temporal connective, as sentences in paragraphs do."""
SHARED_LOOK = 0.5
"""Share of minimal pairs whose two clips have the same style and nuisances, so that only one factor differs."""


def vocabulary() -> list[str]:
    """Return the padding and unknown tokens, then every word that can occur in a Worlds caption.

    Example:
        >>> vocabulary()[:4]
        ['<pad>', '<unk>', 'a', 'above']
    """
    return ["<pad>", "<unk>", *VOCABULARY]


def factor_sizes() -> dict[str, int]:
    """Return the number of values per factor, for auxiliary heads."""
    return {name: len(values) for name, values in FACTORS.items()}


def label_matrix(events: Sequence[Event]) -> Ints:
    """Return the index of each factor's value, -1 where a factor does not apply, (len(events), F)."""
    return np.array([[labels(event)[name] for name in FACTORS] for event in events], dtype=np.int64)


def holds_matrix(
    events: Sequence[Event], claimed: Sequence[Event], mentioned: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Evaluate `mova.worlds.captions.holds` for all pairs at once.

    Args:
        events: what the clips show.
        claimed: what the N sentences claim.
        mentioned: bool (N, F), the factors that each sentence mentions.

    Returns:
        bool (len(events), N).
    """
    real, claims = label_matrix(events), label_matrix(claimed)
    result = _agree(real, claims, mentioned)
    related = [i for i, event in enumerate(events) if event.relation is not None]
    if related:
        second = label_matrix([from_second(events[i]) for i in related])
        free = mentioned.copy()
        free[:, tuple(FACTORS).index("size")] = False
        still = ~mentioned[:, tuple(FACTORS).index("motion")]
        result[related] |= _agree(second, claims, free) & still
    return result


def from_second(event: Event) -> Event:
    """Return the same scene from the perspective of its second object, which does not move."""
    assert event.relation is not None
    relation, shape2, colour2 = event.relation
    return replace(
        event, shape=shape2, colour=colour2, count=1, relation=(INVERSE[relation], event.shape, event.colour)
    )


def _agree(real: Ints, claims: Ints, mentioned: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return ((real[:, None] == claims[None]) | ~mentioned[None]).all(axis=-1)


class WorldsBatches(Dataset[dict[str, Tensor]]):
    """A data set whose item i is a whole batch that depends only on (seed, i).

    Args:
        seed: seed of all draws.
        batches: number of batches.
        videos, events, stacks: V, E, S.
        pairs: share of events that are the second half of a minimal pair.
        image_size: width and height in pixels.
        frame_rate: frames per second of the sampled video; neighbors in a stack are 1 / frame_rate seconds apart.
        max_words: longer sentences are truncated (with the current vocabulary, none is).
    """

    def __init__(
        self,
        seed: int,
        batches: int,
        videos: int = 16,
        events: int = 6,
        stacks: int = 2,
        pairs: float = 0.5,
        image_size: int = 64,
        frame_rate: float = 2.0,
        max_words: int = 48,
    ) -> None:
        self.seed, self.batches = seed, batches
        self.videos, self.events, self.stacks, self.pairs = videos, events, stacks, pairs
        self.image_size, self.frame_rate, self.max_words = image_size, frame_rate, max_words
        self._ids = {word: i for i, word in enumerate(vocabulary())}

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one batch; shapes as in the module's legend.

        Returns:
            stacks uint8 (T, 9, h, w); video int64 (T,); input_ids, attention_mask (N, L); positive, truth bool (T, N);
            paragraphs int64 (V, P) padded with -1; paragraph_truth bool (V, V); label_NAME int64 (T,).
        """
        rng = np.random.default_rng([self.seed, index])
        events, changed, pair_of = self._events(rng)
        sentences, mentioned, negatives, negative_events = self._sentences(events, changed, rng)
        truth = holds_matrix(events, events + negative_events, np.concatenate([mentioned, mentioned]))
        clips = self._render(events, pair_of, rng)
        video = np.concatenate([np.repeat(np.arange(self.videos), self.events), np.arange(self.videos)])
        batch: dict[str, Tensor] = {"stacks": torch.from_numpy(clips.reshape(-1, *clips.shape[2:]))}
        batch["video"] = torch.from_numpy(np.repeat(video, self.stacks))
        batch |= self._tokens(sentences + negatives)
        count = len(events)
        positive = np.zeros((count + self.videos, 2 * count), dtype=bool)
        positive[np.arange(count), np.arange(count)] = True
        everything = np.concatenate([truth, np.zeros((self.videos, 2 * count), dtype=bool)])
        for name, value in (("positive", positive), ("truth", everything)):
            batch[name] = torch.from_numpy(np.repeat(value, self.stacks, axis=0))
        batch |= self._paragraphs(truth[:, :count], rng)
        facts = label_matrix(events)
        facts = np.concatenate([facts, np.full((self.videos, facts.shape[1]), -1)])
        for column, name in enumerate(FACTORS):
            batch[f"label_{name}"] = torch.from_numpy(np.repeat(facts[:, column], self.stacks))
        return batch

    def _events(self, rng: np.random.Generator) -> tuple[list[Event], list[str | None], list[int]]:
        """Draw V * E events in random order; event i differs from `pair_of[i]` (-1: none) in factor `changed[i]`."""
        count = self.videos * self.events
        events = [sample_event(rng)]
        changed: list[str | None] = [None]
        pair_of = [-1]
        while len(events) < count:
            partner = len(events) - 1
            if changed[partner] is None and rng.random() < 2 * self.pairs / (1 + self.pairs):
                factor = _draw_factor(events[partner], tuple(FACTORS), rng)
                events.append(mutate(events[partner], factor, rng))
                changed.append(factor)
                changed[partner] = factor
                pair_of.append(partner)
            else:
                events.append(sample_event(rng))
                changed.append(None)
                pair_of.append(-1)
        order = rng.permutation(count)
        position = np.argsort(order)
        pairs = [-1 if pair_of[i] < 0 else int(position[pair_of[i]]) for i in order]
        return [events[i] for i in order], [changed[i] for i in order], pairs

    def _sentences(
        self, events: list[Event], changed: list[str | None], rng: np.random.Generator
    ) -> tuple[list[str], npt.NDArray[np.bool_], list[str], list[Event]]:
        """Describe each event; return sentences, mentioned factors (N/2, F), and negatives with one factor changed."""
        names = tuple(FACTORS)
        sentences, negatives, negative_events = [], [], []
        mentioned = np.zeros((len(events), len(names)), dtype=bool)
        for i, event in enumerate(events):
            must = changed[i]
            sentence = describe(event, rng, must=() if must is None else (must,))
            mentioned[i] = [name in sentence.mentioned for name in names]
            false = mutate(event, _draw_factor(event, tuple(sentence.mentioned), rng), rng)
            sentences.append(_perhaps_connected(sentence.text, rng))
            negatives.append(_perhaps_connected(describe(false, rng, mention=sentence.mentioned).text, rng))
            negative_events.append(false)
        return sentences, mentioned, negatives, negative_events

    def _render(self, events: list[Event], pair_of: list[int], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Render stacks around S consecutive samples of each clip, which takes S + 2 frames; (C, S, 9, h, w).

        A neighbor beyond the ends of a clip is a frame of another clip, as at a cut.
        """
        step, size = 1.0 / self.frame_rate, self.image_size
        looks: list[tuple[str, Nuisance]] = [(_draw(TRAIN_STYLES, rng), sample_nuisance(rng)) for _ in events]
        for i, partner in enumerate(pair_of):
            if partner >= 0 and rng.random() < SHARED_LOOK:
                looks[i] = looks[partner]
        frames, outside = [], []
        for i in range(len(events) + self.videos):
            duration = rng.uniform(*SECONDS)
            first = rng.uniform(0, duration - (self.stacks - 1) * step)
            times = first + step * np.arange(-1, self.stacks + 1)
            outside.append((times < 0) | (times >= duration))
            times = np.clip(times, 0, duration)
            if i < len(events):
                frames.append(render_event(events[i], looks[i][1], looks[i][0], times, duration, size))
            else:
                style, look = _draw(TRAIN_STYLES, rng), sample_nuisance(rng)
                frames.append(render_filler(rng, look, style, times, duration, size))
        pixels, cut = np.stack(frames), np.stack(outside)
        pixels[cut] = np.roll(pixels, 1, axis=0)[cut]
        channels = np.ascontiguousarray(pixels.transpose(0, 1, 4, 2, 3))
        stacks = [channels[:, s : s + 3].reshape(len(channels), 9, size, size) for s in range(self.stacks)]
        return np.stack(stacks, axis=1)

    def _tokens(self, texts: list[str]) -> dict[str, Tensor]:
        """Convert texts to word ids, padded to the longest."""
        rows = [[self._ids.get(w, 1) for w in words(text)][: self.max_words] for text in texts]
        ids = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy((ids > 0).astype(np.int64))}

    def _paragraphs(self, truth: npt.NDArray[np.bool_], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw paragraphs that describe 1 to half of the events of each video, and which videos each is true of."""
        limit = max(1, self.events // 2)
        paragraphs = np.full((self.videos, limit), -1, dtype=np.int64)
        for v in range(self.videos):
            sentences = rng.permutation(self.events)[: rng.integers(1, limit + 1)] + v * self.events
            paragraphs[v, : len(sentences)] = sentences
        in_video = np.asarray(truth.reshape(self.videos, self.events, -1).any(axis=1))
        real = paragraphs >= 0
        valid = (in_video[:, paragraphs.clip(min=0)] | ~real[None]).all(axis=-1)
        return {"paragraphs": torch.from_numpy(paragraphs), "paragraph_truth": torch.from_numpy(valid)}


def _perhaps_connected(text: str, rng: np.random.Generator) -> str:
    if rng.random() >= CONNECTED:
        return text
    return connect(text, _draw(tuple(OPENINGS), rng), rng)


def _draw(values: tuple[str, ...], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]


def _draw_factor(event: Event, names: tuple[str, ...], rng: np.random.Generator) -> str:
    """Draw one of `names` that applies to the event, by `FACTOR_WEIGHTS`."""
    applicable = [name for name in names if labels(event)[name] >= 0]
    weights = np.array([FACTOR_WEIGHTS.get(name, 1.0) for name in applicable])
    return str(rng.choice(applicable, p=weights / weights.sum()))
