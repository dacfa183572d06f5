"""Longest common subsequence of two captions, as masks over their tokens: t' in Eq. 6 of SynViTA.

SynViTA (Zanella et al. 2025, footnote 2) obtains t' by masking, not by deleting: tokens that are not shared get
attention 0, and all tokens keep their positions. A model that derives positions from its attention mask would close the
gaps, so it must be given the position ids of the unmasked prompt.

A longest common subsequence is not unique. Here the common prefix and suffix are matched first, which is always
optimal: in whole prompts, everything around the captions (template, frame placeholders, question) is kept. In between,
matches are taken from the left; if either side may be skipped with the same result, the first one is.

The published code compares the *characters* of the ids written as decimal numbers, and keeps a token if all of its
digits are matched. It keeps tokens whose digits happen to occur in other ids, and drops shared tokens whose digits
were matched elsewhere. `compat=True` follows it; each side is aligned with the other one separately.

Shape legend: n, m tokens of the two captions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]


def common_subsequence_mask(
    first: Sequence[int] | Ids, second: Sequence[int] | Ids, special: Collection[int] = (), compat: bool = False
) -> tuple[Mask, Mask]:
    """Return which tokens of two sequences belong to their longest common subsequence.

    Takes O(nm) time for the part between the common prefix and suffix, in n vectorized steps.

    Args:
        first: (n,), token ids.
        second: (m,), token ids.
        special: ids that are always kept on both sides and excluded from the comparison.
        compat: use the published character-level comparison.

    Returns:
        Masks (n,) and (m,), true for tokens that stay visible. Without `special` and `compat`, `first[mask]` equals
        `second[mask]`.

    Example:
        >>> first, second = common_subsequence_mask([5, 1, 2, 9], [5, 2, 3, 9])
        >>> first.tolist(), second.tolist()
        ([True, False, True, True], [True, True, False, True])
    """
    first_ids, second_ids = (np.asarray(tokens, dtype=np.int64).reshape(-1) for tokens in (first, second))
    kept = np.fromiter(special, dtype=np.int64)
    masks = np.isin(first_ids, kept), np.isin(second_ids, kept)
    open_one, open_two = (np.flatnonzero(~mask) for mask in masks)
    compared = first_ids[open_one], second_ids[open_two]
    matched = _characters(*compared) if compat else _tokens(*compared)
    masks[0][open_one], masks[1][open_two] = matched
    return masks


def _tokens(first: Ids, second: Ids) -> tuple[Mask, Mask]:
    start = _shared_prefix(first, second)
    end = _shared_prefix(first[start:][::-1], second[start:][::-1])
    masks = np.ones(len(first), dtype=bool), np.ones(len(second), dtype=bool)
    middles = tuple(slice(start, len(tokens) - end) for tokens in (first, second))
    for mask, middle in zip(masks, middles, strict=True):
        mask[middle] = False
    for i, j in _match(first[middles[0]], second[middles[1]]):
        masks[0][start + i] = masks[1][start + j] = True
    return masks


def _shared_prefix(first: Ids, second: Ids) -> int:
    """Return the length of the common prefix of two sequences."""
    length = min(len(first), len(second))
    differing = np.flatnonzero(first[:length] != second[:length])
    return int(differing[0]) if len(differing) else length


def _match(first: Ids, second: Ids) -> list[tuple[int, int]]:
    """Return the index pairs of a longest common subsequence, from the left."""
    lengths = _table(first[::-1], second[::-1])[::-1, ::-1]  # (n+1, m+1): of the tails from i and j
    pairs, i, j = [], 0, 0
    while i < len(first) and j < len(second):
        if first[i] == second[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif lengths[i + 1, j] >= lengths[i, j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _table(first: Ids, second: Ids) -> npt.NDArray[np.int32]:
    """Return lengths (n+1, m+1) of the longest common subsequence of the first i and the first j tokens."""
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=np.int32)
    for i, token in enumerate(first):
        np.maximum(table[i, 1:], table[i, :-1] + (second == token), out=table[i + 1, 1:])
        np.maximum.accumulate(table[i + 1], out=table[i + 1])
    return table


def _characters(first: Ids, second: Ids) -> tuple[Mask, Mask]:
    """Return the masks of the published code: a token is kept if all of its decimal digits are matched.

    Ids are separated by blanks; blanks may be matched too but do not count. Among several matches, the one found from
    the end is taken, and the masked side is skipped first. The published code leaves this choice to a library.
    """
    return _digits_kept(first, second), _digits_kept(second, first)


def _digits_kept(masked: Ids, against: Ids) -> Mask:
    words = [str(token) for token in masked.tolist()]
    text, reference = (_codes(" ".join(map(str, tokens.tolist()))) for tokens in (masked, against))
    matched = np.zeros(len(text), dtype=bool)
    for i, _ in _match(text[::-1], reference[::-1]):
        matched[len(text) - 1 - i] = True
    ends = np.cumsum([len(word) + 1 for word in words], dtype=np.int64)
    starts = ends - [len(word) + 1 for word in words] if words else ends
    return np.array([matched[a : b - 1].all() for a, b in zip(starts, ends, strict=True)], dtype=bool)


def _codes(text: str) -> Ids:
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64)
