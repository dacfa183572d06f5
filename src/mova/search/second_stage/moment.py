"""A moment of a re-ranked answer, and what was asked about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mova.types import Moment


@dataclass(frozen=True)
class RerankedMoment(Moment):
    """A moment that another model was asked about.

    Attributes:
        score: of the first stage, as without a second one.
        first_rank: rank by that score, from 1.
        second_score: of the second model: mean log-odds of Yes of a video LLM, or the score of a dual encoder.
        second_rank: rank by that score among the moments that were asked about.
        mixed: what they are ranked by.

    >>> moment = RerankedMoment("film.mp4", 1.0, 2.0, 0.5, first_rank=2, second_score=1.5, second_rank=1, mixed=0.25)
    >>> moment.to_json()["rerank"]
    {'score': 1.5, 'rank': 1, 'first_rank': 2, 'mixed': 0.25}
    """

    first_rank: int = 1
    second_score: float = 0.0
    second_rank: int = 1
    mixed: float = 0.0

    @classmethod
    def of(cls, moment: Moment, **ranks: Any) -> RerankedMoment:
        """Return a moment with the fields of this class."""
        return cls(**{**vars(moment), **ranks})

    def to_json(self) -> dict[str, Any]:
        """Return the fields of a moment, and `rerank`: second score, both ranks, and the mixed score."""
        second = {"score": round(self.second_score, 6), "rank": self.second_rank, "first_rank": self.first_rank}
        return {**super().to_json(), "rerank": {**second, "mixed": round(self.mixed, 6)}}

    def rows(self) -> list[dict[str, Any]]:
        """Return one row."""
        names = ("first_rank", "second_score", "second_rank", "mixed")
        return [{**row, **{name: getattr(self, name) for name in names}} for row in super().rows()]


@dataclass(frozen=True)
class Reranking:
    """What a second stage did for one answer.

    Attributes:
        model: name of the second model.
        kind: what its scores are: "log-odds" (of Yes, by a video LLM) or "similarity"; empty if it was not asked.
        weight: its share in the mixed score, from 0 to 1.
        source: where the weight is from: "measured" (`mova eval rerank`), "given", or "default".
        asked: number of moments that it was asked about.
        of: number of moments that it was to be asked about.
        seconds: time that asking took, without loading the model.
        limit: longest time; None: without limit.
        unreadable: clips that could not be read, with the causes; they keep their ranks.
        queries: number of queries that the weight was measured with; 0: it was not.

    >>> Reranking("a-model", "similarity", 0.5, "default", asked=4, of=20, seconds=9.8, limit=10.0).ended_early
    True
    """

    model: str
    kind: str
    weight: float
    source: str
    asked: int
    of: int
    seconds: float
    limit: float | None = None
    unreadable: tuple[str, ...] = ()
    queries: int = 0

    @property
    def ended_early(self) -> bool:
        """Whether the time was over before all moments were asked about."""
        return self.weight > 0 and self.asked + len(self.unreadable) < self.of

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        values: dict[str, Any] = {**vars(self), "seconds": round(self.seconds, 3), "weight": round(self.weight, 6)}
        return {**values, "unreadable": list(self.unreadable), "ended_early": self.ended_early}
