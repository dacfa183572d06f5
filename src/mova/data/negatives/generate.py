"""Generate hard negatives: triplets of a video, its caption, and a caption that is false of the video in one respect.

SynViTA (Zanella et al. 2025, Section 4) trains on VideoCon's seven kinds. A writer proposes negatives of one kind for
each caption: the rules of `rules.py`, or a language model (`llm_writer.py`). Every proposal must pass the checks of
`checks.py` and, optionally, an entailment model. The choice among proposals depends on the seed, the row's id, the
caption and the kind, so the negatives of a caption do not change with the rest of the manifest. Only the selection of
kinds under `per_caption` depends on the balance of kinds over the whole manifest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mova.data.manifest import Caption, Row
from mova.data.negatives.checks import rejection_reason, states
from mova.data.negatives.event_order import timed_flips
from mova.data.negatives.kinds import KINDS, Kind, parse_kind
from mova.data.negatives.rules import RULES
from mova.data.negatives.tokens import TokenizedText
from mova.data.synthetic import Synthetic, synthetic_videos, with_synthetic
from mova.errors import DataError, UsageError
from mova.utils.text_files import brief

Writer = Callable[[Sequence[Caption], Kind], list[list[str]]]
"""(captions, kind) -> for each caption, any number of proposed negatives of that kind."""
TextEntailment = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""Pairs (caption, negative) -> probability that the caption entails the negative."""
MAX_ENTAILMENT = 0.5
"""A negative with a higher entailment probability is rejected."""


@dataclass(frozen=True)
class HardNegative:
    """A false caption.

    Attributes:
        text: the caption.
        source_kind: its kind as spelled by its source ("counting"); None if not annotated.
        explanation: how the video differs from it, in words; None if not annotated.
    """

    text: str
    source_kind: str | None
    explanation: str | None = None

    @property
    def kind(self) -> Kind | None:
        """Its kind, one of the seven; None if not annotated.

        Raises:
            UsageError: `source_kind` refers to none of them.
        """
        return None if self.source_kind is None else parse_kind(self.source_kind)


@dataclass(frozen=True)
class Triplet:
    """A row with one of its captions and one hard negative of that caption."""

    row: Row
    positive: str
    negative: HardNegative


@dataclass
class NegativesReport:
    """Counts of accepted and rejected negatives.

    Attributes:
        captions: number of captions processed.
        made: kind -> negatives kept.
        impossible: kind -> captions without any proposal.
        refused: kind -> captions whose proposals were all rejected.
        reasons: reason -> proposals rejected for it.
        surplus: accepted negatives dropped because of `per_caption`.
        without: captions without any negative.
    """

    captions: int = 0
    made: Counter[Kind] = field(default_factory=Counter)
    impossible: Counter[Kind] = field(default_factory=Counter)
    refused: Counter[Kind] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    surplus: int = 0
    without: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return all counts as JSON; requested kinds without negatives are listed with 0."""
        counts = {name: dict(getattr(self, name)) for name in ("made", "impossible", "refused", "reasons")}
        return {"captions": self.captions, **counts, "surplus": self.surplus, "without": self.without}


def rule_writer(captions: Sequence[Caption], kind: Kind) -> list[list[str]]:
    """Propose all negatives of a kind that the rules make; a `Writer` that needs no model.

    >>> rule_writer([Caption("Two men sit.")], "count")
    [['Three men sit.', 'Four men sit.', 'Five men sit.']]
    """
    proposals = []
    for caption in captions:
        negatives = list(RULES[kind](TokenizedText.of(caption.text)))
        if kind == "flip":
            negatives += timed_flips(caption.text, caption.sentences)
        proposals.append(negatives)
    return proposals


def generate_negatives(
    rows: Sequence[Row],
    kinds: Sequence[str] = KINDS,
    per_caption: int | None = None,
    seed: int = 0,
    writer: Writer = rule_writer,
    entails: TextEntailment | None = None,
) -> tuple[list[Triplet], NegativesReport]:
    """Generate hard negatives for every caption of a manifest.

    Args:
        rows: rows whose captions are true of their videos.
        kinds: kinds to generate.
        per_caption: negatives to keep per caption, each of a different kind; the rarest kinds so far come first. None
            keeps one of every possible kind.
        seed: seed of the choice among proposals.
        writer: proposes negatives.
        entails: optional model that rejects entailed negatives; see `MAX_ENTAILMENT`.

    Returns:
        Triplets in the order of rows, captions and `KINDS`, and the report.

    Raises:
        UsageError: an unknown kind, or `per_caption` below 1.

    >>> row = Row("v", "v.mp4", None, "train", (Caption("Two men sit."),))
    >>> triplets, report = generate_negatives([row], ["count"])
    >>> [triplet.negative.kind for triplet in triplets], report.made["count"]
    (['count'], 1)
    """
    requested = [kind for kind in KINDS if kind in {parse_kind(name) for name in kinds}]
    if per_caption is not None and per_caption < 1:
        raise UsageError(f"negatives per caption must be at least 1, not {per_caption}")
    sources = [(row, i) for row in rows for i in range(len(row.captions))]
    captions = [row.captions[i] for row, i in sources]
    zeros: dict[Kind, int] = dict.fromkeys(requested, 0)
    report = NegativesReport(len(captions), Counter(zeros), Counter(zeros), Counter(zeros))
    chosen: list[dict[Kind, str]] = [{} for _ in captions]
    for kind in requested:
        for index, proposals in enumerate(writer(captions, kind)):
            row, i = sources[index]
            order = _shuffled(proposals, f"{seed}/{row.id}/{i}/{kind}")
            others = [caption.text for caption in row.captions if caption.text != captions[index].text]
            text = _first_accepted(captions[index].text, order, kind, others, entails, report)
            if text is not None:
                chosen[index][kind] = text
            else:
                (report.refused if proposals else report.impossible)[kind] += 1
    _balance(chosen, per_caption, report, seed)
    report.without = sum(not negatives for negatives in chosen)
    triplets = [
        Triplet(row, row.captions[i].text, HardNegative(text, kind))
        for (row, i), negatives in zip(sources, chosen, strict=True)
        for kind, text in sorted(negatives.items())
    ]
    return triplets, report


def _first_accepted(
    positive: str,
    proposals: Sequence[str],
    kind: Kind,
    others: Sequence[str],
    entails: TextEntailment | None,
    report: NegativesReport,
) -> str | None:
    """Return the first proposal that passes all checks, and count in the report why the others failed.

    A proposal that one of `others`, the row's other captions, states as well is true of the video: not a negative.
    """
    for text in proposals:
        reason = rejection_reason(positive, text, kind)
        if reason is None and any(states(other, text) for other in others):
            reason = "implied by another caption"
        if reason is None and entails is not None and entails([(positive, text)])[0] > MAX_ENTAILMENT:
            reason = "entailed"
        if reason is None:
            return text
        report.reasons[reason] += 1
    return None


def _shuffled(proposals: Sequence[str], key: str) -> list[str]:
    """Return the distinct proposals in an order that depends only on the key."""
    distinct = list(dict.fromkeys(proposals))
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    order = np.random.default_rng(int.from_bytes(digest, "big")).permutation(len(distinct))
    return [distinct[i] for i in order]


def _balance(chosen: list[dict[Kind, str]], per_caption: int | None, report: NegativesReport, seed: int) -> None:
    """Keep at most `per_caption` negatives per caption, rare kinds first; captions with few kinds choose first."""
    for i in sorted(range(len(chosen)), key=lambda i: (len(chosen[i]), i)):
        drawn = [parse_kind(name) for name in _shuffled(sorted(chosen[i]), f"{seed}/{i}")]
        kept = sorted(drawn, key=lambda kind: report.made[kind])[:per_caption]
        report.surplus += len(drawn) - len(kept)
        report.made.update(kept)
        chosen[i] = {kind: chosen[i][kind] for kind in kept}


def triplet_rows(triplets: Iterable[Triplet]) -> list[Row]:
    """Convert triplets to rows of a manifest: one caption, and the negative in `meta.negatives`.

    Of the row's synthetic videos, those of the caption and of the negative are kept (docs/reference/manifest.md).
    """
    counts: Counter[str] = Counter()
    rows = []
    for triplet in triplets:
        kind = triplet.negative.source_kind
        name = f"{triplet.row.id}/{kind or 'negative'}"
        counts[name] += 1
        captions = (caption for caption in triplet.row.captions if caption.text == triplet.positive)
        caption = next(captions, Caption(triplet.positive))
        negative = {"text": triplet.negative.text}
        if kind:
            negative["misalignment"] = kind
        if triplet.negative.explanation:
            negative["explanation"] = triplet.negative.explanation
        meta = {**triplet.row.meta, "negatives": [negative], "of": triplet.row.id}
        id = name if counts[name] == 1 else f"{name}/{counts[name]}"
        made = replace(triplet.row, id=id, captions=(caption,), meta=meta)
        rows.append(with_synthetic(made, _of_triplet(triplet)))
    return rows


def _of_triplet(triplet: Triplet) -> list[Synthetic]:
    """Return the row's synthetic videos that show the caption or the negative of this triplet."""
    texts = {"negative": triplet.negative.text.strip(), "positive": triplet.positive.strip()}
    return [replace(video, place=0) for video in synthetic_videos(triplet.row) if video.text == texts[video.role]]


def read_triplets(rows: Iterable[Row]) -> list[Triplet]:
    """Read the triplets of rows with negatives, from `triplet_rows` or from `mova data convert videocon-llm`.

    Raises:
        DataError: a row with negatives does not have exactly one caption, a negative has no text, or its explanation is
            not a text.
    """
    triplets = []
    for row in rows:
        negatives = row.meta.get("negatives", [])
        if not isinstance(negatives, list):
            raise DataError(f"row {row.id!r}: 'negatives' must be a list")
        if negatives and len(row.captions) != 1:
            raise DataError(
                f"row {row.id!r} has negatives and {len(row.captions)} captions; a row with negatives needs exactly "
                "one caption, to know which caption they contradict"
            )
        for negative in negatives:
            text = negative.get("text") if isinstance(negative, dict) else None
            if not isinstance(text, str) or not text.strip():
                raise DataError(f"row {row.id!r}: every entry of 'negatives' must be an object with a non-empty 'text'")
            kind, explanation = negative.get("misalignment") or None, negative.get("explanation") or None
            for key, value in (("misalignment", kind), ("explanation", explanation)):
                if not isinstance(value, str | None):
                    raise DataError(f"row {row.id!r}: {key!r} must be a text, not {brief(value)}")
            stated = explanation.strip() if explanation is not None else ""
            triplets.append(Triplet(row, row.captions[0].text, HardNegative(text, kind, stated or None)))
    return triplets
