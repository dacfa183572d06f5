"""Yes against No from logits: the written-out formula, and every form of the words that a vocabulary has."""

from __future__ import annotations

import pytest
import torch

from mova.errors import ModelError
from mova.models.video_llm.yes_no import Answers, surface_ids, yes_log_probability, yes_no_log_odds
from tests.support.tiny_videollms import make_tokenizer

YES, NO = [3, 7], [1, 4, 9]


def test_log_odds_are_the_direct_formula() -> None:
    logits = torch.randn(5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4
    p = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)
    yes, no = p[:, YES].sum(dim=-1), p[:, NO].sum(dim=-1)
    torch.testing.assert_close(yes_no_log_odds(logits, YES, NO).sigmoid(), yes / (yes + no), rtol=1e-12, atol=0)
    torch.testing.assert_close(yes_log_probability(logits, YES).exp(), yes, rtol=1e-12, atol=0)


def test_log_odds_are_exact_for_unlikely_words() -> None:
    logits = torch.zeros(12)
    logits[0], logits[YES], logits[NO] = 400.0, torch.tensor([-300.0, -290.0]), torch.tensor([-310.0, -295.0, -400.0])
    odds = yes_no_log_odds(logits, YES, NO)
    wide = logits.double()
    expected = (wide[YES] + 300).exp().sum().log() - (wide[NO] + 300).exp().sum().log()
    assert float(odds) == pytest.approx(float(expected), abs=1e-4)
    assert logits.softmax(dim=-1)[YES].sum() == 0  # the direct form has 0 / 0 here
    assert yes_log_probability(logits, YES).isfinite()


def test_half_precision_is_widened_and_gradients_flow() -> None:
    logits = torch.randn(2, 12).to(torch.bfloat16).requires_grad_()
    odds = yes_no_log_odds(logits, YES, NO)
    assert odds.dtype == torch.float32
    odds.sum().backward()
    assert logits.grad is not None
    assert torch.equal((logits.grad != 0).nonzero()[:, 1].unique(), torch.tensor(sorted(YES + NO)))


class Vocabulary:
    """As much of a tokenizer as the search for words reads."""

    all_special_ids = (0,)

    def __init__(self, *tokens: str) -> None:
        self.tokens = tokens

    def get_vocab(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}


def test_every_surface_form_counts_and_nothing_else() -> None:
    made = Vocabulary("yes", "Yes", "ĠYES", "▁yes", "yes</w>", "Yes,", "yesterday", "ĠNo", "not", "▁no", "Ċno", "ｎｏ")
    assert Answers.of(made) == Answers(yes=(1, 2, 3, 4), no=(7, 9, 10))  # token 0 is a special one
    assert surface_ids(made, ["yesterday", "not"]) == (6, 8)
    with pytest.raises(ModelError, match="'maybe'"):
        surface_ids(made, ["maybe"])


def test_a_real_tokenizer_has_forms_with_and_without_space() -> None:
    tokenizer = make_tokenizer()
    answers = Answers.of(tokenizer)
    forms = {tokenizer.decode([id]) for id in answers.yes}
    assert {"Yes", " yes", " YES"} <= forms
    assert not set(answers.yes) & set(answers.no)
