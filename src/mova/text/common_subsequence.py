"""The part that two captions share, as masks over their tokens: t' of SynViTA's Eq. 6.

t' is the longest common subsequence of both captions, and it is reached by masking, not by deleting
(papers/synvita.txt, footnote 2): tokens that are not shared get attention 0, all tokens keep their places. So the
positions of kept tokens must be those of the unmasked prompt; a model that counts positions from its attention mask
would close the gaps, and has to be given the position ids of the unmasked prompt.

A longest common subsequence is not unique. Here the common beginning and end are matched first, which is always
optimal: with whole prompts given, everything around the captions (template, placeholders of frames, question) is kept.
Between them matches are taken from the left; where one side must be skipped and both are as good, the first is.

The published code compares *characters* of the ids written out as decimal numbers, and keeps a token all of whose
digits take part in the match. It keeps tokens whose digits happen to stand in other ids, and drops shared ones whose
digits were matched elsewhere. `compat=True` follows it, each side being aligned against the other in its own turn.

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
    """Which tokens of each of two sequences belong to their longest common subsequence.

    Time is O(nm) over what lies between the common beginning and end, in n vectorised steps.

    Args:
        first: (n,), token ids.
        second: (m,), token ids.
        special: ids that are always kept, on both sides, and take no part in the comparison.
        compat: the published character-level comparison.

    Returns:
        Masks (n,) and (m,), true for what stays visible. Without `special` and `compat`, `first[mask]` equals
        `second[mask]`.
    """
    one, two = (np.asarray(tokens, dtype=np.int64).reshape(-1) for tokens in (first, second))
    kept = np.fromiter(special, dtype=np.int64)
    masks = np.isin(one, kept), np.isin(two, kept)
    open_one, open_two = (np.flatnonzero(~mask) for mask in masks)
    compared = one[open_one], two[open_two]
    found = _characters(*compared) if compat else _tokens(*compared)
    masks[0][open_one], masks[1][open_two] = found
    return masks


def _tokens(one: Ids, two: Ids) -> tuple[Mask, Mask]:
    """Masks of the longest common subsequence."""
    start = _shared_prefix(one, two)
    end = _shared_prefix(one[start:][::-1], two[start:][::-1])
    masks = np.ones(len(one), dtype=bool), np.ones(len(two), dtype=bool)
    middles = tuple(slice(start, len(tokens) - end) for tokens in (one, two))
    for mask, middle in zip(masks, middles, strict=True):
        mask[middle] = False
    for i, j in _match(one[middles[0]], two[middles[1]]):
        masks[0][start + i] = masks[1][start + j] = True
    return masks


def _shared_prefix(one: Ids, two: Ids) -> int:
    """How many tokens two sequences have in common at their beginning."""
    length = min(len(one), len(two))
    differing = np.flatnonzero(one[:length] != two[:length])
    return int(differing[0]) if len(differing) else length


def _match(one: Ids, two: Ids) -> list[tuple[int, int]]:
    """Pairs of places of a longest common subsequence, from the left."""
    lengths = _table(one[::-1], two[::-1])[::-1, ::-1]  # (n+1, m+1): of the tails from i and j
    pairs, i, j = [], 0, 0
    while i < len(one) and j < len(two):
        if one[i] == two[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif lengths[i + 1, j] >= lengths[i, j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _table(one: Ids, two: Ids) -> npt.NDArray[np.int32]:
    """Lengths (n+1, m+1) of the longest common subsequence of the first i and the first j, a row a step."""
    table = np.zeros((len(one) + 1, len(two) + 1), dtype=np.int32)
    for i, token in enumerate(one):
        np.maximum(table[i, 1:], table[i, :-1] + (two == token), out=table[i + 1, 1:])
        np.maximum.accumulate(table[i + 1], out=table[i + 1])
    return table


def _characters(one: Ids, two: Ids) -> tuple[Mask, Mask]:
    """Masks of the published code: a token is kept if each of its decimal digits takes part in the match.

    Ids are written out with a blank between them; the blank may be matched too, and does not count. Of several matches
    the one found from the end is taken, the side that is masked being skipped first; the published code leaves this
    to a library whose choice it does not state.
    """
    return _digits_kept(one, two), _digits_kept(two, one)


def _digits_kept(masked: Ids, against: Ids) -> Mask:
    """Mask of one side."""
    words = [str(token) for token in masked.tolist()]
    text, other = (_codes(" ".join(map(str, tokens.tolist()))) for tokens in (masked, against))
    matched = np.zeros(len(text), dtype=bool)
    for i, _ in _match(text[::-1], other[::-1]):
        matched[len(text) - 1 - i] = True
    ends = np.cumsum([len(word) + 1 for word in words], dtype=np.int64)
    starts = ends - [len(word) + 1 for word in words] if words else ends
    return np.array([matched[a : b - 1].all() for a, b in zip(starts, ends, strict=True)], dtype=bool)


def _codes(text: str) -> Ids:
    """Characters as numbers."""
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64)
