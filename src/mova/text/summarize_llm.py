"""Summarize captions with a language model: a transformers model, or an OpenAI-compatible endpoint.

GEXIA used Vicuna 13B (Section 4.1; Appendix A compares others). Decoding is greedy, so summaries are reproducible.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mova.text.llm import Endpoint, Generator, LanguageModel
from mova.text.summarize import Summary

PROMPT = (
    "The following sentences describe one video, in order of time. Summarise them in one sentence of at most {words} "
    "words. Answer with that sentence alone.\n\n{text}"
)
_THOUGHTS = re.compile(r"^.*</think>|<think>.*", re.DOTALL)
TOKENS_PER_WORD = 3
"""Tokens reserved per word of an answer; most languages need fewer."""


@dataclass(frozen=True)
class LLMSummarizer:
    """A `Summarizer` that prompts a language model.

    Attributes:
        generator: answers prompts.
        name: model and number of words.
        words: number of words that each prompt asks for.
        batch: texts per call.
    """

    generator: Generator
    name: str
    words: int
    batch: int

    def summarize(self, texts: Sequence[Sequence[str]]) -> list[Summary]:
        """Return one summary per text.

        Raises:
            ModelError: the model cannot be loaded, or the server rejects a request or does not answer.
        """
        prompts = [PROMPT.format(words=self.words, text=" ".join(text)) for text in texts]
        return [Summary(clean_answer(answer)) for answer in self.generator(prompts)]


def model_summarizer(model: str, words: int, batch: int = 8, device: str = "cpu") -> LLMSummarizer:
    """Create a summarizer with a transformers model; see `llm.LanguageModel`."""
    generator = LanguageModel(model, TOKENS_PER_WORD * words, batch, device)
    return LLMSummarizer(generator, f"transformers,model={model},words={words}", words, batch)


def endpoint_summarizer(url: str, model: str, words: int, parallel: int = 4, **options: Any) -> LLMSummarizer:
    """Create a summarizer with a server. Other options are those of `llm.Endpoint`."""
    generator = Endpoint(url, model, TOKENS_PER_WORD * words, parallel=parallel, **options)
    return LLMSummarizer(generator, f"endpoint,model={model},words={words}", words, 8 * parallel)


def clean_answer(answer: str) -> str:
    """Return an answer on one line, without the reasoning before it and without quotes around it.

    Example:
        >>> clean_answer('<think>Short.</think>"A dog  runs."')
        'A dog runs.'
    """
    text = " ".join(_THOUGHTS.sub("", answer).split())
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' and text.count('"') == 2 else text
