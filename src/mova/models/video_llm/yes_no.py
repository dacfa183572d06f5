"""From next-token logits to a score: P(Yes) against P(No), in log space.

SynViTA (Zanella et al. 2025), Eq. 1: `f(V, t) = P(Yes) / (P(Yes) + P(No))` for the token that follows the question.
A tokenizer has several tokens for one word ("Yes", "yes", " Yes", "YES", ...); the probability of the word is their
sum. With `y = logsumexp` of the logits of yes and `n` of no, `f = sigmoid(y - n)`: the normaliser of the vocabulary
cancels, and nothing is lost where both probabilities are tiny.

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
"""What tokenizers write for white space and for the end of a word."""


@dataclass(frozen=True)
class Answers:
    """Ids of all tokens that are the word yes, and of all that are the word no; both sorted, not empty, disjoint."""

    yes: tuple[int, ...]
    no: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Any, yes: Sequence[str] = ("yes",), no: Sequence[str] = ("no",)) -> Answers:
        """The answers that a tokenizer can give.

        Args:
            tokenizer: of transformers.
            yes, no: the words, in any case; a prompt in another language has others.

        Raises:
            ModelError: a word is no token of this vocabulary.
        """
        return cls(surface_ids(tokenizer, yes), surface_ids(tokenizer, no))


def surface_ids(tokenizer: Any, words: Sequence[str]) -> tuple[int, ...]:
    """Ids of every token that is one of the words: any case, with or without white space around it.

    Special tokens and tokens with anything else in them ("Yes,", "not") do not count.

    Raises:
        ModelError: none of the words is a single token.
    """
    wanted = {word.strip().lower() for word in words}
    special = set(tokenizer.all_special_ids)
    found = sorted(id for token, id in tokenizer.get_vocab().items() if id not in special and _bare(token) in wanted)
    if not found:
        raise ModelError(
            f"{getattr(tokenizer, 'name_or_path', '') or 'the tokenizer'}: no single token is "
            f"{' or '.join(map(repr, words))}; choose other answer words in the prompt"
        )
    return tuple(found)


def _bare(token: str) -> str:
    """A vocabulary entry as a word: without marks of white space, in small letters."""
    for mark in MARKS:
        token = token.replace(mark, " ")
    return token.strip().lower()


def yes_no_log_odds(logits: Tensor, yes_ids: Sequence[int], no_ids: Sequence[int]) -> Tensor:
    """`log P(Yes) - log P(No)`; its sigmoid is the score of Eq. 1, its `logsigmoid` the score's logarithm.

    Args:
        logits: (..., V) of the next token, any float type.
        yes_ids, no_ids: Y and N ids, both not empty.

    Returns:
        (...,) float32, or float64 where the logits are. Differentiable.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    yes, no = (wide[..., list(ids)].logsumexp(dim=-1) for ids in (yes_ids, no_ids))
    return yes - no


def yes_log_probability(logits: Tensor, yes_ids: Sequence[int]) -> Tensor:
    """`log P(Yes)` among the whole vocabulary: VQAScore (Lin et al. 2024), which SynViTA's weights are made of.

    Args:
        logits: (..., V) of the next token, any float type.
        yes_ids: Y ids, not empty.

    Returns:
        (...,) float32, or float64 where the logits are. Differentiable.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide[..., list(yes_ids)].logsumexp(dim=-1) - wide.logsumexp(dim=-1)
