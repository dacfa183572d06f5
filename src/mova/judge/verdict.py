"""What a judge finds: a row per sentence of the prompt, sentences out of order, and what no sentence describes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mova.data.negatives.interchange import Counterfactual
from mova.types import ScoredSpan, Span, Timeline

Finding = Literal["shown", "uncertain", "contradicted", "missing"]
HOLDS = 0.5
"""Least probability at which a sentence counts as true of the video."""


@dataclass(frozen=True)
class Contradiction:
    """What the video shows in place of what the sentence says.

    Attributes:
        change: the sentence that fits better, and the words that differ.
        probability: probability of that sentence against what the prompt says.

    >>> change = Counterfactual("attribute", "A blue car stops.", "red", "blue")
    >>> Contradiction(change, 0.9).to_json()["instead"]
    'blue'
    """

    change: Counterfactual
    probability: float

    def to_json(self) -> dict[str, Any]:
        """Return kind, words, sentence and probability."""
        change = self.change
        return {
            "kind": change.kind,
            "said": change.said,
            "instead": change.instead,
            "text": change.text,
            "probability": round(self.probability, 6),
        }


@dataclass(frozen=True)
class SentenceVerdict:
    """One sentence of the prompt.

    Attributes:
        text: the sentence.
        holds: probability that it is true of the video.
        spans: where the video shows it, or what is shown instead; empty if it is missing, or if the judge knows no
            times.
        shown: probability that the video shows it, small faults aside; None from a video LLM alone.
        entailment: P(Yes) of a video LLM; None without one.
        contradiction: what is shown instead; None if nothing fits better than the sentence.

    >>> SentenceVerdict("A dog runs.", holds=0.04, shown=0.05).finding
    'missing'
    """

    text: str
    holds: float
    spans: tuple[ScoredSpan, ...] = ()
    shown: float | None = None
    entailment: float | None = None
    contradiction: Contradiction | None = None

    @property
    def finding(self) -> Finding:
        """The word for it; "contradicted" where another sentence fits better."""
        if self.contradiction is not None:
            return "contradicted"
        if self.holds >= HOLDS:
            return "shown"
        whole = self.holds if self.shown is None else self.shown
        return "missing" if whole < HOLDS else "uncertain"

    def to_json(self) -> dict[str, Any]:
        """Return all fields; those that the judge does not know are left out."""
        row: dict[str, Any] = {"text": self.text, "finding": self.finding, "holds": round(self.holds, 6)}
        for name, value in (("shown", self.shown), ("entailment", self.entailment)):
            if value is not None:
                row[name] = round(value, 6)
        row["spans"] = [span.to_json() for span in self.spans]
        if self.contradiction is not None:
            row["contradiction"] = self.contradiction.to_json()
        return row


@dataclass(frozen=True)
class OrderFault:
    """Two sentences that the video shows in the opposite order.

    Attributes:
        first, second: indices of the sentences in the prompt, `first` before `second`.
        probability: probability that both are shown, and `second` before `first`.

    >>> OrderFault(0, 1, 0.93).to_json()
    {'first': 0, 'second': 1, 'probability': 0.93}
    """

    first: int
    second: int
    probability: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return {"first": self.first, "second": self.second, "probability": round(self.probability, 6)}


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a judge finds in one video.

    Attributes:
        video: path or name.
        prompt: the whole text.
        duration: seconds; None from a video LLM alone.
        sentences: in the order of the prompt.
        order_faults: sentences out of order, most probable first.
        beyond: spans that no sentence describes.
        timeline: the alignment that the spans come from; None from a video LLM alone.

    >>> rows = (SentenceVerdict("A dog runs.", 0.9), SentenceVerdict("It barks.", 0.5))
    >>> Verdict("film.mp4", "A dog runs. It barks.", 10.0, rows).score
    0.7
    """

    video: str
    prompt: str
    duration: float | None
    sentences: tuple[SentenceVerdict, ...]
    order_faults: tuple[OrderFault, ...] = ()
    beyond: tuple[Span, ...] = ()
    timeline: Timeline | None = None

    @property
    def score(self) -> float:
        """Expected share of sentences that are true of the video."""
        return float(np.mean([row.holds for row in self.sentences]))

    def to_json(self) -> dict[str, Any]:
        """Return the document that `mova judge --json` prints for a video."""
        seconds = [{"start": round(span.start, 3), "end": round(span.end, 3)} for span in self.beyond]
        return {
            "video": self.video,
            "prompt": self.prompt,
            "duration": None if self.duration is None else round(self.duration, 3),
            "score": round(self.score, 6),
            "sentences": [row.to_json() for row in self.sentences],
            "order_faults": [fault.to_json() for fault in self.order_faults],
            "beyond": seconds,
        }
