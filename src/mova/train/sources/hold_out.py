"""Hold out some source videos of a split for validation, where a manifest has no split for it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from mova.data.manifest import Row
from mova.data.readers.annotations import origins
from mova.errors import DataError, UsageError

logger = logging.getLogger(__name__)


def held_out_ids(rows: Sequence[Row], share: float, where: str) -> frozenset[str]:
    """Choose source videos by a hash of their names, and return the ids of their rows.

    The same rows are chosen in every run, and no source video is on both sides: a row that shows several of them is
    held out if one of them is.

    Args:
        rows: of the split to train on.
        share: of the source videos, rounded to at least one.
        where: begins error messages, such as "own.jsonl: split 'train'".

    Raises:
        UsageError: the share is not between 0 and 1.
        DataError: nothing would be left to train on.
    """
    if not 0 < share < 1:
        raise UsageError(f"data.hold_out must be between 0 and 1, not {share}")
    names = sorted({name for row in rows for name in origins(row)}, key=_hash)
    chosen = set(names[: max(1, round(share * len(names)))])
    held_out = [row for row in rows if chosen & set(origins(row))]
    held_out_names = {name for row in held_out for name in origins(row)}
    kept = [row for row in rows if not chosen & set(origins(row))]
    if not kept:
        raise DataError(f"{where} has {len(names)} source videos: too few to hold some out for validation")
    if shared := held_out_names & {name for row in kept for name in origins(row)}:
        logger.warning("held-out rows share %d source videos with training, such as %s", len(shared), min(shared))
    logger.info(
        "%s: no validation split; held out %d of %d source videos for it (data.hold_out %g): %s",
        *(where, len(chosen), len(names), share, ", ".join(row.id for row in held_out[:5])),
    )
    return frozenset(row.id for row in held_out)


def _hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
