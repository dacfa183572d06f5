"""Summaries by language models: any instruct model through transformers, or an OpenAI-compatible endpoint.

GEXIA used Vicuna 13B (Section 4.1; Appendix A compares others). Answers are greedy, so they can be had again.
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
TOKENS_A_WORD = 3
"""Room for an answer; most languages need fewer."""


@dataclass(frozen=True)
class Written:
    """Summaries by whatever answers prompts; a `Summarizer`.

    Attributes:
        generator: answers prompts.
        name: of model and budget.
        words: asked of every answer.
        batch: texts at once.
    """

    generator: Generator
    name: str
    words: int
    batch: int

    def summarize(self, texts: Sequence[Sequence[str]]) -> list[Summary]:
        """See `Summarizer`.

        Raises:
            ModelError: the model cannot be loaded, or the server refuses or does not answer.
        """
        prompts = [PROMPT.format(words=self.words, text=" ".join(text)) for text in texts]
        return [Summary(tidy(answer)) for answer in self.generator(prompts)]


def by_model(model: str, words: int, batch: int = 8, device: str = "cpu") -> Written:
    """Summaries by an instruct model of transformers; see `llm.LanguageModel`."""
    generator = LanguageModel(model, TOKENS_A_WORD * words, batch, device)
    return Written(generator, f"transformers,model={model},words={words}", words, batch)


def by_endpoint(url: str, model: str, words: int, parallel: int = 4, **options: Any) -> Written:
    """Summaries by a server; see `llm.Endpoint`, whose other options are passed on. All requests are kept busy."""
    generator = Endpoint(url, model, TOKENS_A_WORD * words, parallel=parallel, **options)
    return Written(generator, f"endpoint,model={model},words={words}", words, 8 * parallel)


def tidy(answer: str) -> str:
    """An answer on one line, without a model's thoughts before it and the quotes that models like to put around it."""
    text = " ".join(_THOUGHTS.sub("", answer).split())
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == '"' and text.count('"') == 2 else text
