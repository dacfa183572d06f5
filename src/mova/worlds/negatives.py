"""Structured paragraphs of Worlds and their hard negatives: one change that is provably false of the video.

The seven kinds are VideoCon's misalignments (Bansal et al. 2024, arXiv 2311.10111): action, attribute, count, flip,
hallucination, object, relation. A change is made to what a sentence claims, not to its characters, and every sentence
keeps its wording, so a negative differs from its paragraph only in the change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mova.types import Span
from mova.worlds.captions import Claim, describe, holds, open_with
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
        ending: words about another event, such as "in the same place", or "".
    """

    claim: Claim
    wording: int
    opening: str = ""
    ending: str = ""

    @property
    def text(self) -> str:
        """The sentence; equal lines give equal texts."""
        text = describe(self.claim.event, np.random.default_rng(self.wording), self.claim.mentioned).text
        text = open_with(text, self.opening) if self.opening else text
        return f"{text.rstrip('.')} {self.ending}." if self.ending else text


@dataclass(frozen=True)
class Negative:
    """A false paragraph.

    Attributes:
        kind: one of `KINDS`.
        text: the whole paragraph.
        sentence: index of the false sentence (for a flip: the first of the two swapped sentences).
        sentences: its sentences.
        lines: its sentences in structured form.
    """

    kind: str
    text: str
    sentence: int
    sentences: tuple[str, ...]
    lines: tuple[Line, ...]


def paragraph_text(lines: Sequence[Line]) -> str:
    """Join the sentences of a paragraph."""
    return " ".join(line.text for line in lines)


def spans_of(claim: Claim, events: Sequence[tuple[Span, Event]]) -> tuple[Span, ...]:
    """Return the spans of all events of which a claim is true."""
    return tuple(span for span, event in events if holds(event, claim))


def make_negative(
    lines: Sequence[Line], kind: str, rng: np.random.Generator, events: Sequence[tuple[Span, Event]]
) -> Negative | None:
    """Make a hard negative of a paragraph.

    Args:
        lines: the paragraph.
        kind: one of `KINDS`.
        rng: draws the change.
        events: every event of the video, captioned or not, with its span, in order of time.

    Returns:
        None if the paragraph has no negative of this kind (e.g. no sentence mentions a relation).
    """
    if kind == "flip":
        return _flip(lines, rng, events)
    if kind == "hallucination":
        return _hallucinate(lines, rng, events)
    options = [
        (i, factor) for i, line in enumerate(lines) for factor in _CHANGED[kind] if factor in line.claim.mentioned
    ]
    for choice in rng.permutation(len(options)).tolist():
        i, factor = options[choice]
        for _ in range(_ATTEMPTS):
            false = replace(lines[i].claim, event=mutate(lines[i].claim.event, factor, rng))
            if not spans_of(false, events):
                changed = [*lines[:i], replace(lines[i], claim=false), *lines[i + 1 :]]
                return _negative(kind, changed, i)
    return None


def _negative(kind: str, lines: Sequence[Line], sentence: int) -> Negative:
    texts = tuple(line.text for line in lines)
    return Negative(kind, " ".join(texts), sentence, texts, tuple(lines))


def _flip(lines: Sequence[Line], rng: np.random.Generator, events: Sequence[tuple[Span, Event]]) -> Negative | None:
    """Swap two sentences whose true spans never occur in the swapped order; connectives stay in place."""
    starts = [[span.start for span in spans_of(line.claim, events)] for line in lines]
    pairs = [(i, j) for i in range(len(lines)) for j in range(i + 1, len(lines)) if min(starts[j]) > max(starts[i])]
    if not pairs:
        return None
    i, j = pairs[int(rng.integers(len(pairs)))]
    swapped = list(lines)
    swapped[i] = replace(lines[j], opening=lines[i].opening)
    swapped[j] = replace(lines[i], opening=lines[j].opening)
    return _negative("flip", swapped, i)


def _hallucinate(lines: Sequence[Line], rng: np.random.Generator, events: Sequence[tuple[Span, Event]]) -> Negative:
    """Add a sentence about something that never happens; half of them resemble a captioned event."""
    while True:
        event = sample_event(rng)
        if rng.random() < 0.5:
            captioned = lines[int(rng.integers(len(lines)))].claim.event
            event = mutate(mutate(captioned, "shape", rng), "colour", rng)
        claim = Claim(event, describe(event, rng).mentioned)
        if not spans_of(claim, events):
            break
    at = int(rng.integers(1, len(lines) + 1))
    opening = lines[at].opening if at < len(lines) else "then"
    return _negative("hallucination", [*lines[:at], Line(claim, int(rng.integers(2**31)), opening), *lines[at:]], at)
