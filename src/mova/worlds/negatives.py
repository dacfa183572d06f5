"""Paragraphs of Worlds as structures, and hard negatives of them: one thing changed, really false of the video.

The seven kinds are VideoCon's misalignments (Bansal et al. 2024, arXiv 2311.10111): action, attribute, count, flip,
hallucination, object, relation. They are made on what the sentences claim, not on their letters, and each sentence
keeps its wording, so that a negative differs from its paragraph in nothing but the change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mova.data.negatives.kinds import KINDS as KINDS
from mova.types import Span
from mova.worlds.captions import Claim, holds, open_with, tell
from mova.worlds.factors import Event, mutate, sample_event

_CHANGED = {
    "action": ("motion",),
    "attribute": ("colour", "size", "colour2"),
    "count": ("count",),
    "object": ("shape", "shape2"),
    "relation": ("relation",),
}
_ATTEMPTS = 8


@dataclass(frozen=True)
class Line:
    """One sentence of a paragraph.

    Attributes:
        claim: what it asserts.
        wording: seed of the choice of words.
        opening: temporal connective, or "".
    """

    claim: Claim
    wording: int
    opening: str = ""

    @property
    def text(self) -> str:
        """The sentence; equal lines give equal texts."""
        said = tell(self.claim.event, np.random.default_rng(self.wording), self.claim.mentioned)
        return open_with(said.text, self.opening) if self.opening else said.text


@dataclass(frozen=True)
class Negative:
    """A false paragraph.

    Attributes:
        kind: one of `KINDS`.
        text: the whole paragraph.
        sentence: index in it of the sentence that is false (of a flip: the first of the two swapped ones).
        sentences: its sentences.
        lines: the same as structures.
    """

    kind: str
    text: str
    sentence: int
    sentences: tuple[str, ...]
    lines: tuple[Line, ...]


def paragraph_text(lines: Sequence[Line]) -> str:
    """The sentences of a paragraph, joined."""
    return " ".join(line.text for line in lines)


def spans_of(claim: Claim, shown: Sequence[tuple[Span, Event]]) -> tuple[Span, ...]:
    """All stretches of which a claim is true."""
    return tuple(span for span, event in shown if holds(event, claim))


def negative(
    lines: Sequence[Line], kind: str, rng: np.random.Generator, shown: Sequence[tuple[Span, Event]]
) -> Negative | None:
    """A hard negative of a paragraph.

    Args:
        lines: the paragraph.
        kind: one of `KINDS`.
        rng: draws what is changed, and how.
        shown: every event of the video, told or not, with its span, in order of time.

    Returns:
        None where this paragraph has no such negative (no sentence mentions a relation, ...).
    """
    if kind == "flip":
        return _flip(lines, rng, shown)
    if kind == "hallucination":
        return _hallucinate(lines, rng, shown)
    options = [
        (i, factor) for i, line in enumerate(lines) for factor in _CHANGED[kind] if factor in line.claim.mentioned
    ]
    for choice in rng.permutation(len(options)).tolist():
        i, factor = options[choice]
        for _ in range(_ATTEMPTS):
            false = replace(lines[i].claim, event=mutate(lines[i].claim.event, factor, rng))
            if not spans_of(false, shown):
                changed = [*lines[:i], replace(lines[i], claim=false), *lines[i + 1 :]]
                return _negative(kind, changed, i)
    return None


def _negative(kind: str, lines: Sequence[Line], sentence: int) -> Negative:
    texts = tuple(line.text for line in lines)
    return Negative(kind, " ".join(texts), sentence, texts, tuple(lines))


def _flip(lines: Sequence[Line], rng: np.random.Generator, shown: Sequence[tuple[Span, Event]]) -> Negative | None:
    """Swap two sentences, connectives left in place, where no true spans of theirs come in the swapped order."""
    starts = [[span.start for span in spans_of(line.claim, shown)] for line in lines]
    pairs = [(i, j) for i in range(len(lines)) for j in range(i + 1, len(lines)) if min(starts[j]) > max(starts[i])]
    if not pairs:
        return None
    i, j = pairs[int(rng.integers(len(pairs)))]
    swapped = list(lines)
    swapped[i] = replace(lines[j], opening=lines[i].opening)
    swapped[j] = replace(lines[i], opening=lines[j].opening)
    return _negative("flip", swapped, i)


def _hallucinate(lines: Sequence[Line], rng: np.random.Generator, shown: Sequence[tuple[Span, Event]]) -> Negative:
    """Add a sentence about something that never happens; every second one resembles a told event."""
    while True:
        event = sample_event(rng)
        if rng.random() < 0.5:
            told = lines[int(rng.integers(len(lines)))].claim.event
            event = mutate(mutate(told, "shape", rng), "colour", rng)
        claim = Claim(event, tell(event, rng).mentioned)
        if not spans_of(claim, shown):
            break
    at = int(rng.integers(1, len(lines) + 1))
    opening = lines[at].opening if at < len(lines) else "then"
    return _negative("hallucination", [*lines[:at], Line(claim, int(rng.integers(2**31)), opening), *lines[at:]], at)
