"""What a search returns: moments, and whether they are evidence. Few imports, so that a short command starts fast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from mova.displayed import Displayed
from mova.scoring.false_alarm import BAR, Evidence, FalseAlarms, evidence
from mova.types import MOMENT_COLUMNS, Moment

if TYPE_CHECKING:
    from mova.search.narrow.filter import Filter
    from mova.search.second_stage.moment import Reranking


class Answer(list[Moment], Displayed):
    """The moments of a search, best first, and whether they are evidence that the index shows the text.

    Attributes:
        false_alarm: lowest false-alarm rate of the moments and of those before them; None if there are none, or it was
            not measured.
        evidence: "strong", "weak" or "none" (nothing here shows the text; the moments are only the nearest); None if it
            was not measured.
        bar: highest rate that counts as evidence.
        background: what the rates were computed from.
        skip: number of better moments that were left out (`Index.search`).
        reranking: what another model was asked; None without one. The rates are then those of all moments that it was
            to be asked about (`candidates`), whatever their new ranks.
        compared: of highlights of a query, the number of moments that were compared with each other; None otherwise.
        unsearched: indexes that could not be read, with the cause (`mova.search.shards.index.ShardedIndex`).
    """

    def __init__(
        self,
        moments: Iterable[Moment] = (),
        background: FalseAlarms | None = None,
        bar: float = BAR,
        skip: int = 0,
        reranking: Reranking | None = None,
        candidates: Iterable[Moment] | None = None,
    ) -> None:
        found = list(moments)
        super().__init__(found[skip:])
        self.background, self.bar, self.skip, self.reranking = background, bar, skip, reranking
        known = found if candidates is None else candidates
        self.false_alarm = min((m.false_alarm for m in known if m.false_alarm is not None), default=None)
        self.unsearched: dict[str, str] = {}
        self.compared: int | None = None
        self.evidence: Evidence | None = None
        if background is not None:
            self.evidence = evidence(1.0 if self.false_alarm is None else self.false_alarm, bar)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Moment: ...

    @overload
    def __getitem__(self, index: slice) -> Answer: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Moment | Answer:
        """Return a moment, or an answer with some of the moments, which keeps what is known of all.

        Example:
            >>> answer = Answer([Moment("a.mp4", 0.0, 2.0, 0.5), Moment("b.mp4", 0.0, 2.0, 0.25)])
            >>> answer[1:].skip, answer[0].video
            (1, 'a.mp4')
        """
        if not isinstance(index, slice):
            return super().__getitem__(index)
        part = Answer(super().__getitem__(index))
        part.__dict__.update(self.__dict__)
        first, _, step = index.indices(len(self))
        part.skip = self.skip + (first if step == 1 else 0)
        return part

    def copy(self) -> Answer:
        """Return a copy of the answer."""
        return self[:]

    def to_json(self) -> dict[str, Any]:
        """Return rate, word, bar, size of the background, the second stage and what was not searched; only if any."""
        more: dict[str, Any] = {} if self.reranking is None else {"rerank": self.reranking.to_json()}
        if self.unsearched:
            more["unsearched"] = dict(self.unsearched)
        if self.background is None:
            return more
        return {
            "false_alarm": None if self.false_alarm is None else round(self.false_alarm, 6),
            "evidence": self.evidence,
            "false_alarm_bar": self.bar,
            "background": {
                "sentences": len(self.background.maxima),
                "frames": self.background.frames,
                "frames_sampled": self.background.sampled,
            },
            **more,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per moment, best first."""
        return [row for moment in self for row in moment.rows()]

    def columns(self) -> tuple[str, ...]:
        """Return the columns of an answer, also of one without moments."""
        return MOMENT_COLUMNS


def document(
    query: str, model: str, elapsed_seconds: float, moments: Sequence[Moment], narrowed: Filter | None = None
) -> dict[str, Any]:
    """Return the document that `mova search --json` prints; with false-alarm rates if they were measured."""
    wanted = None if narrowed is None else narrowed.to_json()
    skip = moments.skip if isinstance(moments, Answer) else 0
    return {
        "query": query,
        "model": model,
        "elapsed_seconds": round(elapsed_seconds, 3),
        **({"filter": wanted} if wanted else {}),
        **({"skip": skip} if skip else {}),
        **(moments.to_json() if isinstance(moments, Answer) else {}),
        "results": [moment.to_json() for moment in moments],
    }
