"""Score next-token logits: P(Yes) against P(No), in log space.

SynViTA (Zanella et al. 2025), Eq. 1: `f(V, t) = P(Yes) / (P(Yes) + P(No))` for the token after the question. A
tokenizer has several tokens for one word ("Yes", "yes", " Yes", "YES", ...); the probability of the word is their sum.
With `y = logsumexp` of the logits of yes and `n` of no, `f = sigmoid(y - n)`: the softmax denominator cancels, and no
precision is lost if both probabilities are tiny.

Shape legend: B prompts, V vocabulary, Y ids of yes, N ids of no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mova.errors import ModelError

MARKS = ("▁", "Ġ", "Ċ", "</w>")
"""Marks of tokenizers for white space and for the end of a word."""


@dataclass(frozen=True)
class Answers:
    """Ids of all tokens that are the word yes, and of all that are the word no; both sorted, not empty, disjoint."""

    yes: tuple[int, ...]
    no: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Any, yes: Sequence[str] = ("yes",), no: Sequence[str] = ("no",)) -> Answers:
        """Return the ids of both answers in a tokenizer.

        Args:
            tokenizer: a tokenizer of transformers.
            yes, no: the words, in any case; prompts in other languages have other words.

        Raises:
            ModelError: a word is not a token of this vocabulary.
        """
        return cls(surface_ids(tokenizer, yes), surface_ids(tokenizer, no))


def surface_ids(tokenizer: Any, words: Sequence[str]) -> tuple[int, ...]:
    """Return the ids of all tokens that are one of the words, in any case, with or without white space.

    Special tokens and tokens with anything else in them ("Yes,", "not") do not count.

    Raises:
        ModelError: none of the words is a single token.
    """
    answers = {word.strip().lower() for word in words}
    special = set(tokenizer.all_special_ids)
    ids = sorted(id for token, id in tokenizer.get_vocab().items() if id not in special and _bare(token) in answers)
    if not ids:
        raise ModelError(
            f"{getattr(tokenizer, 'name_or_path', '') or 'the tokenizer'}: no single token is "
            f"{' or '.join(map(repr, words))}; choose other answer words in the prompt"
        )
    return tuple(ids)


def _bare(token: str) -> str:
    """Return a vocabulary entry as a word: without marks of white space, in lower case."""
    for mark in MARKS:
        token = token.replace(mark, " ")
    return token.strip().lower()


def yes_no_log_odds(logits: Tensor, yes_ids: Sequence[int], no_ids: Sequence[int]) -> Tensor:
    """Return `log P(Yes) - log P(No)`; its sigmoid is the score of Eq. 1, its `logsigmoid` the score's logarithm.

    Args:
        logits: (..., V) of the next token, any float type.
        yes_ids, no_ids: Y and N ids, both not empty.

    Returns:
        (...,) float32, or float64 if the logits are. Differentiable.

    >>> yes_no_log_odds(torch.tensor([2.0, 0.5, -1.0]), yes_ids=[0], no_ids=[1])
    tensor(1.5000)
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    yes, no = (wide[..., list(ids)].logsumexp(dim=-1) for ids in (yes_ids, no_ids))
    return yes - no


def yes_log_probability(logits: Tensor, yes_ids: Sequence[int]) -> Tensor:
    """Return `log P(Yes)` over the whole vocabulary: VQAScore (Lin et al. 2024), the basis of SynViTA's weights.

    Args:
        logits: (..., V) of the next token, any float type.
        yes_ids: Y ids, not empty.

    Returns:
        (...,) float32, or float64 if the logits are. Differentiable.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide[..., list(yes_ids)].logsumexp(dim=-1) - wide.logsumexp(dim=-1)
