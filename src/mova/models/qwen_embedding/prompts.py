"""Prompts of Qwen3-VL-Embedding: a text or a video after an instruction, as tokens.

Shape legend: N texts, L tokens.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mova.models.two_tower.text_processor import TextRule

MOST_TOKENS = 8192
"""Longest prompt of the published code."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """Makes prompts; without weights, so that it can go to worker processes.

    Attributes:
        processor: of the checkpoint.
        instruction: system message of texts.
    """

    processor: Any
    instruction: str

    def write(self, content: Mapping[str, str], instruction: str | None = None) -> str:
        """Return the conversation about one text or video, up to where an answer begins."""
        system = punctuated(self.instruction if instruction is None else instruction)
        messages = [
            {"role": "system", "content": [{"type": "text", "text": system}]},
            {"role": "user", "content": [content]},
        ]
        return str(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of the prompt of each text."""
        prompts = [self.write({"type": "text", "text": text}) for text in texts]
        tokenizer = self.processor.tokenizer
        rows: list[list[int]] = tokenizer(prompts, padding=False, truncation=False, verbose=False)["input_ids"]
        return rows

    def read(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Return the tokens of each prompt, at most `MOST_TOKENS`, and how many were cut off.

        Prompts that are too long lose tokens at the end of the text, as in the published code.
        """
        rows = self.ids(texts)
        dropped = [max(0, len(row) - MOST_TOKENS) for row in rows]
        for i, row in enumerate(rows):
            if dropped[i]:
                tail = len(self.ids([""])[0]) // 2
                rows[i] = [*row[: MOST_TOKENS - tail], *row[len(row) - tail :]]
        return rows, dropped

    def parts(self, text: str) -> list[str]:
        """Return a text in parts that fit into a prompt."""
        around = len(self.ids([""])[0])
        return TextRule(MOST_TOKENS - around).parts(self.processor.tokenizer, text)

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return ids (N, L) and a mask of real tokens (N, L), padded on the right."""
        return TextRule(MOST_TOKENS).pad(rows, self.processor.tokenizer.pad_token_id or 0, "right")


def punctuated(instruction: str) -> str:
    """Return an instruction that ends with a punctuation mark, as the published code has it.

    >>> punctuated("Find the video"), punctuated(" Find it! ")
    ('Find the video.', 'Find it!')
    """
    stripped = instruction.strip()
    if stripped and not unicodedata.category(stripped[-1]).startswith("P"):
        return stripped + "."
    return stripped
