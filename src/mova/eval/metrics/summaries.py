"""How near summaries are to references: ROUGE (Lin 2004) and BERTScore (Zhang et al. 2020, arXiv 1904.09675).

GEXIA's Table 7 compares language models by these, with summaries by a strong model as references.

Shape legend: T tokens of a text, d width.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mova.errors import UsageError, refuse_code
from mova.models.hub import find_checkpoint

_WORD = re.compile(r"[^\W_]+")
LAYERS = {
    "roberta-large": 17,
    "roberta-base": 10,
    "bert-large-uncased": 18,
    "bert-base-uncased": 9,
    "distilbert-base-uncased": 5,
    "microsoft/deberta-xlarge-mnli": 40,
}
"""Layer of each model whose scores agree best with people, by the authors of BERTScore."""
DEFAULT_BERT = "roberta-large"

Embed = Callable[[str], npt.NDArray[np.floating]]
"""A text -> vectors of its tokens, (T, d), without those of special tokens."""


def words(text: str) -> list[str]:
    """Return the words of a text in lower case; punctuation separates them.

    >>> words("A man's red-hot DOG.")
    ['a', 'man', 's', 'red', 'hot', 'dog']
    """
    return _WORD.findall(text.lower())


def rouge_n(candidate: str, reference: str, n: int) -> float:
    """Return ROUGE-N F1: n-grams of words in both texts, each counted as often as in the text that has it less often.

    0 if a text has no n-gram.

    >>> rouge_n("police killed the gunman", "police kill the gunman", 1)
    0.75
    """
    if n < 1:
        raise UsageError(f"n-grams need n >= 1, not {n}")
    counts = [
        Counter(zip(*(listed[k:] for k in range(n)), strict=False)) for listed in (words(candidate), words(reference))
    ]
    return _f1(sum((counts[0] & counts[1]).values()), counts[0].total(), counts[1].total())


def rouge_l(candidate: str, reference: str) -> float:
    """Return ROUGE-L F1: the longest common subsequence of words of the whole texts.

    >>> rouge_l("the gunman kill police", "police kill the gunman")
    0.5
    """
    first, second = words(candidate), words(reference)
    row = [0] * (len(second) + 1)
    for word in first:
        above = row
        row = [0]
        for column, other in enumerate(second):
            row.append(above[column] + 1 if word == other else max(above[column + 1], row[column]))
    return _f1(row[-1], len(first), len(second))


def _f1(matches: float, candidates: float, references: float) -> float:
    return 2 * matches / (candidates + references) if matches else 0.0


def bert_score(candidate: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> float:
    """Return BERTScore F1, without weights of words and without rescaling.

    Each token is compared with the most similar one of the other text: precision is the mean over the candidate's
    tokens, recall over the reference's.

    Args:
        candidate, reference: (T, d) vectors of their tokens.

    >>> a, b = np.eye(3)[:2], np.eye(3)[1:]
    >>> bert_score(a, a), bert_score(a, b)
    (1.0, 0.5)
    """
    if not len(candidate) or not len(reference):
        return 0.0
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (candidate, reference)]
    cosines = unit[0] @ unit[1].T
    precision, recall = float(cosines.max(axis=1).mean()), float(cosines.max(axis=0).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def bert_embedder(model: str = DEFAULT_BERT, layer: int | None = None) -> Embed:
    """Return a function that embeds the tokens of a text by one layer of a language model.

    Args:
        model: a name on the Hub or a folder.
        layer: hidden layer, 0 for the embeddings; default: that of `LAYERS`.

    Raises:
        ModelError: the model cannot be found.
        UsageError: no layer is known for it, or it has fewer.

    >>> bert_embedder("my-bert")
    Traceback (most recent call last):
    mova.errors.UsageError: my-bert: no layer is known for it; ...
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    chosen = LAYERS.get(model) if layer is None else layer
    if chosen is None:
        raise UsageError(f"{model}: no layer is known for it; choose one with --layer ({', '.join(LAYERS)} have one)")
    folder = find_checkpoint(model)
    with refuse_code(model):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        encoder = AutoModel.from_pretrained(folder, trust_remote_code=False).eval()
    layers = int(encoder.config.num_hidden_layers)
    if not 0 <= chosen <= layers:
        raise UsageError(f"{Path(model).name}: has layers 0 to {layers}, not {chosen}")

    def embed(text: str) -> npt.NDArray[np.floating]:
        """Return the states of the tokens of a text, without special ones, (L, d)."""
        made = tokenizer(
            text.strip(),
            return_tensors="pt",
            truncation=True,
            return_special_tokens_mask=True,
            max_length=min(tokenizer.model_max_length, 512),
        )
        special = made.pop("special_tokens_mask")[0].bool()
        with torch.inference_mode():
            states = encoder(**made, output_hidden_states=True).hidden_states[chosen][0]
        return states[~special].float().numpy()

    return embed


@dataclass(frozen=True)
class SummaryScores:
    """Means over the summaries of one system, in [0, 1]; BERTScore is None without a model.

    Attributes:
        count: number of summaries.
        rouge_1, rouge_2, rouge_l: F1.
        bert: F1.

    >>> SummaryScores(100, 0.48, 0.24, 0.39, 0.92).rouge_2  # Vicuna 13B in Table 7
    0.24
    """

    count: int
    rouge_1: float
    rouge_2: float
    rouge_l: float
    bert: float | None


def score_summaries(candidates: Sequence[str], references: Sequence[str], embed: Embed | None = None) -> SummaryScores:
    """Compare the summaries of a system with references.

    Args:
        candidates: summaries.
        references: as many.
        embed: embeds tokens for BERTScore, optional.

    Raises:
        UsageError: there are none, or not as many of both.

    >>> score_summaries(["A dog runs."], ["The dog runs."]).rouge_2
    0.5
    """
    if not candidates or len(candidates) != len(references):
        raise UsageError(f"summaries and references must be as many, not {len(candidates)} and {len(references)}")
    pairs = list(zip(candidates, references, strict=True))
    one, two, longest = (
        float(np.mean([score(a, b) for a, b in pairs]))
        for score in (lambda a, b: rouge_n(a, b, 1), lambda a, b: rouge_n(a, b, 2), rouge_l)
    )
    bert = None if embed is None else float(np.mean([bert_score(embed(a), embed(b)) for a, b in pairs]))
    return SummaryScores(len(pairs), one, two, longest, bert)
