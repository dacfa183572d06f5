"""ROUGE by the examples of its paper and by counting, BERTScore by a loop, and the command."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from transformers.models.auto import AutoModel

from mova.errors import UsageError
from mova.eval.metrics.summaries import bert_embedder, bert_score, rouge_l, rouge_n, score_summaries
from tests.support.tiny_videollms import make_tokenizer

TEXTS = st.lists(st.sampled_from("abcd"), max_size=7).map(" ".join)


def test_the_examples_of_the_paper_of_rouge() -> None:
    reference = "police killed the gunman"
    assert rouge_l("police kill the gunman", reference) == 0.75
    assert rouge_l("the gunman kill police", reference) == 0.5
    assert rouge_n("police kill the gunman", reference, 2) == rouge_n("the gunman kill police", reference, 2)
    assert rouge_l("the gunman police killed", reference) == 0.5
    assert rouge_n("the gunman police killed", reference, 2) == pytest.approx(2 / 3)


@given(TEXTS, TEXTS)
def test_rouge_by_counting(candidate: str, reference: str) -> None:
    first, second = candidate.split(), reference.split()
    subsequences = {
        length: {tuple(first[i] for i in chosen) for chosen in itertools.combinations(range(len(first)), length)}
        for length in range(len(first) + 1)
    }
    longest = max(
        length
        for length, found in subsequences.items()
        if any(tuple(second[i] for i in c) in found for c in itertools.combinations(range(len(second)), length))
    )
    total = len(first) + len(second)
    assert rouge_l(candidate, reference) == pytest.approx(2 * longest / total if longest else 0.0)
    pairs = [list(itertools.pairwise(listed)) for listed in (first, second)]
    left, matched = list(pairs[1]), 0
    for pair in pairs[0]:
        if pair in left:
            left.remove(pair)
            matched += 1
    assert rouge_n(candidate, reference, 2) == pytest.approx(2 * matched / sum(map(len, pairs)) if matched else 0.0)


def test_bert_score_by_a_loop() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 8)), rng.normal(size=(6, 8))

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        return float(x @ y / np.sqrt((x @ x) * (y @ y)))

    precision = sum(max(cosine(x, y) for y in b) for x in a) / 4
    recall = sum(max(cosine(x, y) for x in a) for y in b) / 6
    assert bert_score(a, b) == pytest.approx(2 * precision * recall / (precision + recall))
    assert bert_score(a, a[::-1] * 3) == pytest.approx(1.0)
    assert bert_score(a[:0], b) == 0.0
    with pytest.raises(UsageError, match="as many"):
        score_summaries(["a"], [])


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    tokenizer: PreTrainedTokenizerFast = make_tokenizer()
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(**shape, vocab_size=len(tokenizer))).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_tokens_are_embedded_by_a_layer(bert: Path) -> None:
    tokenizer, model = make_tokenizer(), AutoModel.from_pretrained(bert).eval()
    embedded = bert_embedder(str(bert), 1)(" A dog. ")
    with torch.inference_mode():
        states = model(torch.tensor([tokenizer("A dog.").input_ids]), output_hidden_states=True).hidden_states
    np.testing.assert_allclose(embedded, states[1][0].numpy(), rtol=1e-5)
    with pytest.raises(UsageError, match="no layer is known"):
        bert_embedder(str(bert))
    with pytest.raises(UsageError, match="layers 0 to 2, not 3"):
        bert_embedder(str(bert), 3)


def test_the_command(bert: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    def write(name: str, *texts: str, **more: float) -> Path:
        lines = (json.dumps({"id": str(i), "text": text, **more}) for i, text in enumerate(texts))
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    reference = write("reference.jsonl", "A dog runs home.", "Two men talk.")
    same = write("same.jsonl", "A dog runs home.", "Two men talk.", seconds=2.5)
    other = write("other.jsonl", "The dog runs.", "A cat.", "One more.")
    options = ("--candidates", f"vicuna={same}", "--candidates", other, "--bert", bert, "--layer", 2)
    code, out, err = call("eval", "summaries", reference, *options, "--json")
    assert code == 0, err
    systems = json.loads(out)["systems"]
    assert systems["vicuna"] == {
        "count": 2,
        "rouge_1": 1.0,
        "rouge_2": 1.0,
        "rouge_l": 1.0,
        "bert": pytest.approx(1.0),
        "seconds": 2.5,
    }
    assert systems["other"]["rouge_1"] == pytest.approx((4 / 7) / 2)
    assert systems["other"]["seconds"] is None
    assert "1 summaries without a reference" in err
    code, out, _ = call("eval", "summaries", reference, "--candidates", other)
    assert (code, "RG-L" in out) == (0, True)
    short = write("short.jsonl", "A dog.")
    code, _, err = call("eval", "summaries", reference, "--candidates", short)
    assert (code, "lacks 1 of 2 summaries, such as '1'" in err) == (1, True)
