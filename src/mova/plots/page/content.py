"""What a page of moments shows: cards in sections, one section per query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mova.models.known import seldom_detects
from mova.types import Moment, MomentSentence

if TYPE_CHECKING:
    from mova.search.evidence import Answer


@dataclass(frozen=True)
class Card:
    """A moment on the page.

    Attributes:
        video: path.
        start, end: seconds.
        evidence: "strong", "weak" or "none"; None if it was not measured.
        note: a few words about it, such as its score.
        sentences: of a paragraph, with their times.

    Example:
        >>> Card("film.mp4", 2.0, 5.5, "strong", "score 0.31").note
        'score 0.31'
    """

    video: str
    start: float
    end: float
    evidence: str | None = None
    note: str = ""
    sentences: tuple[MomentSentence, ...] = ()


@dataclass(frozen=True)
class Section:
    """A query and its cards.

    Attributes:
        title: the query, or what the cards have in common.
        cards: in the order of the page.
        verdict: a sentence above the cards that must not be missed, such as that nothing was found; may be empty.
        reason: what the verdict means; without one, what the notes of the cards mean.

    Example:
        >>> Section("a dog", (Card("film.mp4", 2.0, 5.5),)).verdict
        ''
    """

    title: str
    cards: tuple[Card, ...]
    verdict: str = ""
    reason: str = ""


def answer_section(query: str, moments: Answer | Sequence[Moment], model: str = "") -> Section:
    """Return the section of a search: if nothing is evidence, it says so, and shows the nearest moments.

    Args:
        query: the title.
        moments: best first.
        model: name of the model. If it seldom has evidence, the section says so.

    Example:
        >>> section = answer_section("a dog", [Moment("film.mp4", 2.0, 5.5, score=0.3125)])
        >>> section.verdict, section.cards[0].note
        ('', 'score 0.312')
        >>> answer_section("a dog", []).verdict
        'No moments.'
    """
    cards = tuple(
        Card(m.video, m.start, m.end, m.evidence, f"score {m.score:.3f}".replace("-", "\u2212"), m.sentences)
        for m in moments
    )
    if not cards:
        return Section(query, cards, "No moments.", "Nothing that was searched passed the filters of this search.")
    if getattr(moments, "evidence", None) != "none":
        return Section(query, cards)
    rate = getattr(moments, "false_alarm", None)
    share = f"{100 * (1.0 if rate is None else rate):.2g}"
    reason = f"A text about something else finds a moment as good as these in {share} % of cases."
    seldom = seldom_detects(model)
    if seldom is None:
        reason += " The nearest are below; they are no evidence."
        return Section(query, cards, "Nothing here shows that.", reason)
    reason += f" {model} has evidence for only {seldom:.0%} of what videos show, so look at the nearest below."
    return Section(query, cards, "No evidence that anything here shows that.", reason)
