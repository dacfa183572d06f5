"""A question about frames as tokens: the family's chat template, and where in it the description stands.

The prompt is split after the frames' placeholder. What comes before, the frames included, is the same for all texts
about a video (`Visual`); what comes after is short (`Tail`). Both parts together are, token for token, what the
family's processor makes of the whole conversation; that is checked for every video.

Shape legend: P tokens up to the end of the frames, L tokens of a tail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from transformers.video_utils import VideoMetadata

from mova.errors import ModelError, UsageError
from mova.models.video_llm.frames import time_settings
from mova.types import Frames

PER_TOKEN = frozenset({"attention_mask", "mm_token_type_ids", "token_type_ids"})
"""Inputs of a model that have a number a token."""


@dataclass(frozen=True)
class Question:
    """What is asked, and the words that answer it.

    Attributes:
        text: holds `{text}` once, where the description goes.
        yes_words, no_words: any case.
    """

    text: str
    yes_words: tuple[str, ...] = ("yes",)
    no_words: tuple[str, ...] = ("no",)

    def __post_init__(self) -> None:
        if self.text.count("{text}") != 1 or not self.yes_words or not self.no_words:
            raise UsageError(f"a question needs {{text}} once, and words for yes and no, not {self.text!r}")

    @classmethod
    def named(cls, name: str | Path) -> Question:
        """A question that ships with the package ("entailment", "figure"), or a YAML file of the same form.

        Raises:
            UsageError: neither, or the file holds no question.
        """
        shipped = prompts()["questions"]
        if str(name) in shipped:
            return cls._of(shipped[str(name)], str(name))
        try:
            values = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(f"prompt {name}: neither one of {', '.join(shipped)} nor a YAML file ({error})") from error
        return cls._of(values, str(name))

    @classmethod
    def _of(cls, values: Any, name: str) -> Question:
        if not isinstance(values, dict) or not isinstance(values.get("text"), str) or values.keys() - _KEYS:
            raise UsageError(f"prompt {name}: needs `text`, and may have `yes_words` and `no_words` (lists)")
        words = {key: tuple(map(str, values[key])) for key in ("yes_words", "no_words") if key in values}
        return cls(values["text"], **words)


_KEYS = {"text", "yes_words", "no_words"}


@cache
def prompts() -> dict[str, Any]:
    """`videollm_prompts.yaml`: questions, fallback templates, frame budgets."""
    text = resources.files("mova.models.video_llm").joinpath("prompts.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


@dataclass(frozen=True)
class Budget:
    """How many frames a family is made for.

    Attributes:
        frames: so many, however long the video is; or None, and
        rate: so many a second,
        least, most: between these bounds,
        multiple: in whole multiples.
        rule: of `video/sampling.py`.
    """

    frames: int | None = None
    rate: float = 1.0
    least: int = 1
    most: int = 768
    multiple: int = 1
    rule: str = "linspace"

    @classmethod
    def of(cls, kind: str) -> Budget:
        """Of a `model_type`; families that are not in the table get the default."""
        table = prompts()["budgets"]
        return cls(**table.get(kind, table["default"]))

    def count(self, duration: float, max_frames: int | None = None) -> int:
        """Frames to look at in so many seconds, never more than `max_frames`, at least one."""
        limit = self.most if max_frames is None else max_frames
        if self.frames is not None:
            return min(self.frames, limit)
        wanted = min(max(int(duration * self.rate), self.least), self.most, limit)
        return max(wanted - wanted % self.multiple, min(self.multiple, limit))


@dataclass(frozen=True, eq=False)
class Visual:
    """A video or an image as a model takes it, with the prompt up to its end.

    Attributes:
        ids: int64, (P,).
        kinds: other inputs that have a number a token, (P,) each.
        pixels: tensors of the frames: everything that is not by token.
    """

    ids: Tensor
    kinds: Mapping[str, Tensor]
    pixels: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Tail:
    """The prompt after the frames: the question with its description, and the start of the answer.

    Attributes:
        ids: int64, (L,).
        description: the tokens of the description within them, half-open; a token that also holds a neighbouring
            quotation mark counts.
    """

    ids: Tensor
    description: slice

    def __len__(self) -> int:
        return len(self.ids)


class Prompter:
    """Makes `Visual` and `Tail` of frames and texts for one checkpoint.

    Args:
        processor: from `load_processor`.
        kind: the configuration's `model_type`.
        name: the checkpoint, for messages.

    Raises:
        ModelError: there is no chat template, neither in the checkpoint nor in the package's table, or the tokenizer
            is not of the `tokenizers` library.
    """

    def __init__(self, processor: Any, kind: str, name: str) -> None:
        self.processor, self.kind, self.name = processor, kind, name
        self.tokenizer = processor.tokenizer
        self.sees_videos = getattr(processor, "video_processor", None) is not None
        self._template = None if _has_template(processor) else prompts()["templates"].get(kind)
        if self._template is None and not _has_template(processor):
            raise ModelError(
                f"{name}: has no chat template, and none is known for {kind}; put its chat_template.jinja beside it"
            )
        if not self.tokenizer.is_fast:
            raise ModelError(f"{name}: its tokenizer cannot tell where words lie; convert it to tokenizer.json")
        control = (str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special)
        self._control = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))) or "(?!)")

    def video(self, frames: Frames, question: Question) -> Visual:
        """A video's frames: as a video where the family takes videos, else as images side by side."""
        if not self.sees_videos:
            return self.images(frames.pixels, question)
        told = VideoMetadata(**time_settings(frames))
        return self._visual(question, {"video": 1}, videos=[frames.pixels], videos_kwargs={"video_metadata": [told]})

    def images(self, pixels: Any, question: Question) -> Visual:
        """Images (n, H, W, 3), or a list of them, that one question is about."""
        return self._visual(question, {"image": len(pixels)}, images=[list(pixels)])

    def tails(self, texts: Sequence[str], question: Question, *, images: int = 0) -> list[Tail]:
        """One tail a text.

        Args:
            texts: descriptions.
            question: what is asked.
            images: how many images are asked about; 0 for a video.

        Raises:
            UsageError: a text is empty or holds one of the tokenizer's control tokens.
        """
        shown = {"image": images} if images else self._shown(1)
        anchor, start = self._tail_text(question, shown)
        made = []
        for text in texts:
            stripped = text.strip()
            if not stripped:
                raise UsageError("a description is empty; say at least one word")
            if control := self._control.search(stripped):
                raise UsageError(
                    f"the description {stripped!r} holds the control token {control.group()!r}; take it out"
                )
            made.append(self._tail(anchor, start, stripped))
        return made

    def _shown(self, frames: int) -> dict[str, int]:
        return {"video": 1} if self.sees_videos else {"image": frames}

    def _tail(self, anchor: str, start: str, text: str) -> Tail:
        """Tokens of what follows the placeholder, tokenized behind it as in the whole prompt."""
        before, after = start.split(_MARK)
        whole = f"{anchor}{before}{text}{after}"
        coded = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = coded["input_ids"]
        place = self.tokenizer.convert_tokens_to_ids(anchor)
        if place not in ids:
            raise ModelError(f"{self.name}: its tokenizer has no token {anchor!r}, which its processor puts for frames")
        after_frames = ids.index(place) + 1
        first, last = len(anchor) + len(before), len(anchor) + len(before) + len(text)
        offsets = coded["offset_mapping"][after_frames:]
        inside = [i for i, (a, b) in enumerate(offsets) if a < last and b > first]
        return Tail(torch.tensor(ids[after_frames:]), slice(inside[0], inside[-1] + 1))

    def _visual(self, question: Question, shown: Mapping[str, int], **inputs: Any) -> Visual:
        """The processor's own tokens of the whole prompt, less the tail."""
        prompt = self._render(question, shown).replace(_MARK, _PROBE)
        bos = self.tokenizer.bos_token
        special = not (bos and prompt.startswith(bos))
        made = self.processor(
            text=[prompt], **inputs, text_kwargs={"add_special_tokens": special, "return_tensors": "pt"}
        )
        made = {key: torch.as_tensor(value) for key, value in made.items()}
        ids = made.pop("input_ids")[0]
        tail = self._tail(*self._tail_text(question, shown), _PROBE).ids
        length = len(ids) - len(tail)
        if length <= 0 or not torch.equal(ids[length:], tail):
            raise ModelError(f"{self.name}: its tokenizer reads the question otherwise after the frames than alone")
        kinds = {key: made.pop(key)[0, :length] for key in PER_TOKEN & made.keys()}
        kinds.pop("attention_mask", None)
        return Visual(ids[:length], kinds, made)

    def _tail_text(self, question: Question, shown: Mapping[str, int]) -> tuple[str, str]:
        """(placeholder, what follows its last occurrence, with a mark for the description)."""
        anchor = self._placeholder(next(iter(shown)))
        prompt = self._render(question, shown)
        return anchor, prompt[prompt.rindex(anchor) + len(anchor) :]

    def _placeholder(self, what: str) -> str:
        """The token that stands for a video or an image."""
        found = getattr(self.processor, f"{what}_token", None)
        if found is None:
            raise ModelError(f"{self.name}: takes no {what}s ({type(self.processor).__name__} has no token for them)")
        return str(found)

    def _render(self, question: Question, shown: Mapping[str, int]) -> str:
        """The whole prompt, with a mark where the description goes."""
        asked = question.text.replace("{text}", _MARK)
        if self._template is not None:
            vision = "".join(self._placeholder(what) * count for what, count in shown.items())
            return self._template.replace("{vision}", vision).replace("{question}", asked)
        content = [{"type": what} for what, count in shown.items() for _ in range(count)]
        message = {"role": "user", "content": [*content, {"type": "text", "text": asked}]}
        plain = {"enable_thinking": False} if "enable_thinking" in str(self.processor.chat_template) else {}
        return self.processor.apply_chat_template([message], add_generation_prompt=True, **plain)


_MARK = "\ue000"
"""Stands where the description goes; of Unicode's private area, so that no text holds it."""
_PROBE = "a"
"""The description that a video's prompt is checked with."""


def _has_template(processor: Any) -> bool:
    return bool(getattr(processor, "chat_template", None))
