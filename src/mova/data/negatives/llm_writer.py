"""Hard negatives by a language model: a prompt a caption and kind, checked like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mova.data.manifest import Caption
from mova.data.negatives.kinds import CHANGES, Kind
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
"""One caption and its negative a kind, in our own words."""
_DECLINED = "none"


@dataclass(frozen=True)
class Asking:
    """A writer (`contrast.py: Writer`) that asks a language model.

    Attributes:
        generate: answers prompts.
    """

    generate: Generator

    def __call__(self, captions: Sequence[Caption], kind: Kind) -> list[list[str]]:
        """At most one negative a caption; none where the model declines."""
        answers = self.generate([prompt_for(caption.text, kind) for caption in captions])
        return [[text] if text else [] for text in map(first_line, answers)]


def prompt_for(caption: str, kind: Kind) -> str:
    """What the model is asked."""
    old, new = EXAMPLES[kind]
    example = f"\nFor example, of {old!r} you could make {new!r}."
    return PROMPT.format(caption=caption, change=CHANGES[kind], example=example)


def first_line(answer: str) -> str:
    """The negative in an answer: its first line that says something, without quotes; "" where the model declined."""
    line = next((line.strip() for line in answer.splitlines() if line.strip()), "")
    for opening, closing in (('"', '"'), ("'", "'"), ("“", "”")):
        if len(line) > 1 and line.startswith(opening) and line.endswith(closing):
            line = line[1:-1].strip()
    return "" if line.rstrip(".").lower() == _DECLINED else line


def writer_of(model: str | None, endpoint: str | None, device: str) -> Asking:
    """The writer that asks a model of transformers, or one of a server where an address is given.

    Raises:
        UsageError: an address without the model's name.
    """
    if model is None:
        raise UsageError("name the server's model too: --endpoint URL --llm NAME")
    return Asking(LanguageModel(model, device=device) if endpoint is None else Endpoint(endpoint, model))
