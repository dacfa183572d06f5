"""Hard negatives of captions: triplets of video, caption and a caption that is false of the video in one respect.

SynViTA trains on VideoCon's seven misalignments (papers/synvita.txt, Section 4). A writer proposes negatives of one
kind for a caption: the rules of `contrast_rules.py`, or a language model (`contrast_llm.py`). All pass the checks of
`contrast_check.py`, and a filter of entailment where one is given. What is chosen depends on the seed, the row's id,
the caption and the kind, so the negatives of a caption do not change with the rest of the manifest; only which kinds
are kept of it, where fewer than all are wanted, follows the balance of kinds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mova.data.manifest import Caption, Row
from mova.data.negatives.checks import refusal, says
from mova.data.negatives.event_order import timed_flips
from mova.data.negatives.kinds import KINDS, Kind, kind_of
from mova.data.negatives.rules import PROPOSALS
from mova.data.negatives.tokens import Words
from mova.data.synthetic import Synthetic, synthetic_videos, with_synthetic
from mova.errors import DataError, UsageError

Writer = Callable[[Sequence[Caption], Kind], list[list[str]]]
"""Captions and a kind -> for each caption, negatives of that kind, as many as it has; best choice drawn by seed."""
Entails = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""Pairs (caption, negative) -> probability that a video of which the caption is true shows the negative too."""
MAX_ENTAILMENT = 0.5
"""A negative that is entailed with more than this is refused."""


@dataclass(frozen=True)
class Negative:
    """A false caption and how it differs; `name` is the kind as its source calls it, None where it does not say."""

    text: str
    name: str | None

    @property
    def kind(self) -> Kind | None:
        """Which of the seven it is.

        Raises:
            UsageError: the name stands for none of them.
        """
        return None if self.name is None else kind_of(self.name)


@dataclass(frozen=True)
class Triplet:
    """A row with one caption and one negative of it."""

    row: Row
    positive: str
    negative: Negative


@dataclass
class Report:
    """What was made and what was not.

    Attributes:
        captions: how many were looked at.
        made: kind -> negatives kept.
        impossible: kind -> captions for which nothing was proposed.
        refused: kind -> captions whose proposals all failed a check.
        reasons: reason of a check -> proposals it refused.
        surplus: negatives that were good and left out, because only some a caption were wanted.
        without: captions that have no negative at all.
    """

    captions: int = 0
    made: Counter[Kind] = field(default_factory=Counter)
    impossible: Counter[Kind] = field(default_factory=Counter)
    refused: Counter[Kind] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    surplus: int = 0
    without: int = 0

    def to_json(self) -> dict[str, Any]:
        """All counts; every kind is named, with 0 too where it was asked for."""
        counts = {name: dict(getattr(self, name)) for name in ("made", "impossible", "refused", "reasons")}
        return {"captions": self.captions, **counts, "surplus": self.surplus, "without": self.without}


def by_rule(captions: Sequence[Caption], kind: Kind) -> list[list[str]]:
    """The writer that needs no model: every negative of a kind that the rules make of each caption."""
    proposals = []
    for caption in captions:
        found = list(PROPOSALS[kind](Words.of(caption.text)))
        if kind == "flip":
            found += timed_flips(caption.text, caption.sentences)
        proposals.append(found)
    return proposals


def contrast(
    rows: Sequence[Row],
    kinds: Sequence[str] = KINDS,
    per_caption: int | None = None,
    seed: int = 0,
    writer: Writer = by_rule,
    entails: Entails | None = None,
) -> tuple[list[Triplet], Report]:
    """Hard negatives of every caption of a manifest.

    Args:
        rows: rows whose captions are true of their videos.
        kinds: kinds wanted.
        per_caption: negatives kept of a caption, each of another kind; the kinds made least so far come first. None
            keeps one of every kind that is possible.
        seed: of the choice among proposals.
        writer: proposes negatives.
        entails: judges them; see `Entails`.

    Returns:
        Triplets in the order of rows, captions and `KINDS`, and the report.

    Raises:
        UsageError: no such kind, or `per_caption` below 1.
    """
    wanted = [kind for kind in KINDS if kind in {kind_of(name) for name in kinds}]
    if per_caption is not None and per_caption < 1:
        raise UsageError(f"at least one negative a caption must be wanted, not {per_caption}")
    places = [(row, i) for row in rows for i in range(len(row.captions))]
    captions = [row.captions[i] for row, i in places]
    none: dict[Kind, int] = dict.fromkeys(wanted, 0)
    report = Report(len(captions), Counter(none), Counter(none), Counter(none))
    chosen: list[dict[Kind, str]] = [{} for _ in captions]
    for kind in wanted:
        for at, proposals in enumerate(writer(captions, kind)):
            row, i = places[at]
            order = _shuffled(proposals, f"{seed}/{row.id}/{i}/{kind}")
            others = [each.text for each in row.captions if each.text != captions[at].text]
            text = _first_good(captions[at].text, order, kind, others, entails, report)
            if text is not None:
                chosen[at][kind] = text
            else:
                (report.refused if proposals else report.impossible)[kind] += 1
    _balance(chosen, per_caption, report, seed)
    report.without = sum(not each for each in chosen)
    triplets = [
        Triplet(row, row.captions[i].text, Negative(text, kind))
        for (row, i), each in zip(places, chosen, strict=True)
        for kind, text in sorted(each.items())
    ]
    return triplets, report


def _first_good(
    positive: str,
    proposals: Sequence[str],
    kind: Kind,
    others: Sequence[str],
    entails: Entails | None,
    report: Report,
) -> str | None:
    """The first proposal that passes all checks; the report counts why the others did not.

    A proposal that `others`, the row's other captions, tell of the same video is true and no negative.
    """
    for text in proposals:
        reason = refusal(positive, text, kind)
        if reason is None and any(says(other, text) for other in others):
            reason = "told by another caption"
        if reason is None and entails is not None and entails([(positive, text)])[0] > MAX_ENTAILMENT:
            reason = "entailed"
        if reason is None:
            return text
        report.reasons[reason] += 1
    return None


def _shuffled(proposals: Sequence[str], key: str) -> list[str]:
    """Proposals without repeats in an order that depends on the key alone."""
    distinct = list(dict.fromkeys(proposals))
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    order = np.random.default_rng(int.from_bytes(digest, "big")).permutation(len(distinct))
    return [distinct[i] for i in order]


def _balance(chosen: list[dict[Kind, str]], per_caption: int | None, report: Report, seed: int) -> None:
    """Keep so many negatives a caption, rare kinds first; captions with few possible kinds choose first."""
    for at in sorted(range(len(chosen)), key=lambda at: (len(chosen[at]), at)):
        drawn = [kind_of(name) for name in _shuffled(sorted(chosen[at]), f"{seed}/{at}")]
        kept = sorted(drawn, key=lambda kind: report.made[kind])[:per_caption]
        report.surplus += len(drawn) - len(kept)
        report.made.update(kept)
        chosen[at] = {kind: chosen[at][kind] for kind in kept}


def triplet_rows(triplets: Iterable[Triplet]) -> list[Row]:
    """Triplets as rows of a manifest: one caption, the negative in `meta.negatives` (docs/reference/manifest.md), and
    of the synthetic videos that the row has, those of these two."""
    counts: Counter[str] = Counter()
    rows = []
    for triplet in triplets:
        name = f"{triplet.row.id}/{triplet.negative.name or 'negative'}"
        counts[name] += 1
        caption = next(
            (each for each in triplet.row.captions if each.text == triplet.positive), Caption(triplet.positive)
        )
        negative = {"text": triplet.negative.text}
        if triplet.negative.name:
            negative["misalignment"] = triplet.negative.name
        meta = {**triplet.row.meta, "negatives": [negative], "of": triplet.row.id}
        id = name if counts[name] == 1 else f"{name}/{counts[name]}"
        made = replace(triplet.row, id=id, captions=(caption,), meta=meta)
        rows.append(with_synthetic(made, _of_triplet(triplet)))
    return rows


def _of_triplet(triplet: Triplet) -> list[Synthetic]:
    """Those of the row's synthetic videos that show a caption of the triplet; another negative's are not its."""
    texts = {"negative": triplet.negative.text.strip(), "positive": triplet.positive.strip()}
    return [replace(each, place=0) for each in synthetic_videos(triplet.row) if each.text == texts[each.role]]


def read_triplets(rows: Iterable[Row]) -> list[Triplet]:
    """The triplets of rows with negatives: those of `triplet_rows`, and VideoCon's as `mova data convert` reads them.

    Raises:
        DataError: a row has negatives and not exactly one caption, or a negative without text.
    """
    found = []
    for row in rows:
        negatives = row.meta.get("negatives", [])
        if negatives and len(row.captions) != 1:
            raise DataError(
                f"row {row.id!r} has negatives and {len(row.captions)} captions; it needs one, to know whose"
            )
        for negative in negatives:
            if not isinstance(negative, dict) or not str(negative.get("text") or "").strip():
                raise DataError(f"row {row.id!r}: a negative without text")
            name = negative.get("misalignment") or None
            found.append(Triplet(row, row.captions[0].text, Negative(negative["text"], name)))
    return found
