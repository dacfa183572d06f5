"""Hard negatives written by a language model: one prompt per caption and kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mova.data.manifest import Caption
from mova.data.negatives.kinds import DESCRIPTIONS, Kind
from mova.errors import UsageError
from mova.text.llm import Endpoint, Generator, LanguageModel

PROMPT = """Here is a description of a video:
{caption}

Rewrite it so that it is false of that video in exactly one respect: {change}.
Keep every other word and their order. The new description must be grammatical, could be true of some other video, and \
must not be a paraphrase of the old one. Do not say "not" or "no", and do not change anybody's sex, age group or skin \
colour.{example}
Answer with the new description alone, on one line. Where it cannot be done, answer NONE."""
EXAMPLES: dict[Kind, tuple[str, str]] = {
    "action": ("A woman folds a blue towel.", "A woman tears a blue towel."),
    "attribute": ("A tall vase stands by the window.", "A short vase stands by the window."),
    "count": ("Three boats leave the harbour.", "Five boats leave the harbour."),
    "flip": ("He ties his shoes and then stretches.", "He stretches and then ties his shoes."),
    "hallucination": ("A boy feeds the pigeons.", "A boy feeds the pigeons while a goat looks on."),
    "object": ("She paints a bench.", "She paints a ladder."),
    "relation": ("The cat sleeps under the car.", "The cat sleeps on top of the car."),
}
"""Kind -> a caption and its negative, as an example in the prompt."""
_DECLINED = "none"


@dataclass(frozen=True)
class LanguageModelWriter:
    """A `Writer` (see `generate.py`) that prompts a language model.

    Attributes:
        generate: answers prompts.
    """

    generate: Generator

    def __call__(self, captions: Sequence[Caption], kind: Kind) -> list[list[str]]:
        """Return at most one negative per caption; none if the model declines."""
        answers = self.generate([build_prompt(caption.text, kind) for caption in captions])
        return [[text] if text else [] for text in map(parse_answer, answers)]


def build_prompt(caption: str, kind: Kind) -> str:
    """Return the prompt for one caption and kind."""
    old, new = EXAMPLES[kind]
    example = f"\nFor example, of {old!r} you could make {new!r}."
    return PROMPT.format(caption=caption, change=DESCRIPTIONS[kind], example=example)


def parse_answer(answer: str) -> str:
    """Return the negative in an answer: its first non-empty line, without quotes; "" if the model declined.

    >>> parse_answer('"A dog sits." \\nBecause ...'), parse_answer("NONE.")
    ('A dog sits.', '')
    """
    line = next((line.strip() for line in answer.splitlines() if line.strip()), "")
    for opening, closing in (('"', '"'), ("'", "'"), ("“", "”")):
        if len(line) > 1 and line.startswith(opening) and line.endswith(closing):
            line = line[1:-1].strip()
    return "" if line.rstrip(".").lower() == _DECLINED else line


def make_writer(model: str | None, endpoint: str | None, device: str) -> LanguageModelWriter:
    """Return a writer that uses a local transformers model, or a server's model if an endpoint is given.

    Args:
        model: name or folder of the model.
        endpoint: URL of a server with an OpenAI-compatible API; None runs the model in this process.
        device: device of a local model.

    Raises:
        UsageError: no model is named.
    """
    if model is None:
        raise UsageError("--endpoint needs the name of the server's model; add --llm NAME")
    return LanguageModelWriter(LanguageModel(model, device=device) if endpoint is None else Endpoint(endpoint, model))
