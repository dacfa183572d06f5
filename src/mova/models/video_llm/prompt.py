"""Prompts of a video LLM: a question about frames as tokens, by the architecture's chat template.

The prompt is split after the frames' placeholder. The part before it, including the frames, is the same for all texts
about a video (`Visual`); the part after it is short (`Tail`). Together they equal, token for token, the output of the
architecture's processor for the whole conversation; this is checked for every video.

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

from mova.errors import DataError, ModelError, UsageError
from mova.models.video_llm.frames import time_settings
from mova.types import Frames
from mova.utils.text_files import parse_yaml, read_text

PER_TOKEN = frozenset({"attention_mask", "mm_token_type_ids", "token_type_ids"})
"""Inputs of a model with one number per token."""


@dataclass(frozen=True)
class Question:
    """A question, and the words that answer it.

    Attributes:
        text: contains `{text}` once, for the description.
        yes_words, no_words: in any case.

    >>> Question("Does this video show {text}?").yes_words
    ('yes',)
    """

    text: str
    yes_words: tuple[str, ...] = ("yes",)
    no_words: tuple[str, ...] = ("no",)

    def __post_init__(self) -> None:
        if self.text.count("{text}") != 1 or not self.yes_words or not self.no_words:
            raise UsageError(f"a question needs {{text}} once, and words for yes and no, not {self.text!r}")

    @classmethod
    def named(cls, name: str | Path) -> Question:
        """Return a question of the package ("entailment", "figure"), or from a YAML file of the same form.

        Raises:
            UsageError: neither, or the file does not contain a question.
        """
        shipped = prompts()["questions"]
        if str(name) in shipped:
            return cls._of(shipped[str(name)], str(name))
        try:
            values = parse_yaml(read_text(name), str(name))
        except DataError as error:
            raise UsageError(f"prompt {name}: neither one of {', '.join(shipped)} nor a YAML file ({error})") from error
        return cls._of(values, str(name))

    @classmethod
    def _of(cls, values: Any, name: str) -> Question:
        if not isinstance(values, dict) or not isinstance(values.get("text"), str) or values.keys() - _KEYS:
            raise UsageError(f"prompt {name}: needs `text`, and may have `yes_words` and `no_words` (lists)")
        words = {key: values[key] for key in ("yes_words", "no_words") if key in values}
        for key, listed in words.items():
            if not isinstance(listed, list) or not all(isinstance(word, str) for word in listed):
                raise UsageError(f'prompt {name}: `{key}` must be a list of words in quotes, such as ["yes"]')
        return cls(values["text"], **{key: tuple(listed) for key, listed in words.items()})


_KEYS = {"text", "yes_words", "no_words"}


@cache
def prompts() -> dict[str, Any]:
    """Return the content of `prompts.yaml`: questions, fallback templates, frame budgets."""
    text = resources.files("mova.models.video_llm").joinpath("prompts.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


@dataclass(frozen=True)
class Budget:
    """Number of frames an architecture is made for.

    Attributes:
        frames: a fixed number regardless of the video's length; or None, and then
        rate: frames per second,
        least, most: within these bounds,
        multiple: as a multiple of this number.
        rule: a rule of `video/sampling.py`.

    >>> Budget(rate=2.0, least=4, most=32, multiple=2).count(duration=7.6)
    14
    """

    frames: int | None = None
    rate: float = 1.0
    least: int = 1
    most: int = 768
    multiple: int = 1
    rule: str = "linspace"

    @classmethod
    def of(cls, kind: str) -> Budget:
        """Return the budget of a `model_type`; default: that of architectures missing from the table."""
        table = prompts()["budgets"]
        return cls(**table.get(kind, table["default"]))

    def count(self, duration: float, max_frames: int | None = None) -> int:
        """Return the number of frames for a duration in seconds, at most `max_frames` and at least one."""
        limit = self.most if max_frames is None else max_frames
        if self.frames is not None:
            return min(self.frames, limit)
        count = min(max(int(duration * self.rate), self.least), self.most, limit)
        return max(count - count % self.multiple, min(self.multiple, limit))


@dataclass(frozen=True, eq=False)
class Visual:
    """A video or an image as model input, with the prompt up to its end.

    Attributes:
        ids: int64, (P,).
        kinds: other inputs with one number per token, (P,) each.
        pixels: tensors of the frames: all inputs that are not per token.
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
        description: the tokens of the description within them, half-open; a token that also contains an adjacent
            quotation mark counts.
        answer: the tokens of a given answer and of its end, if the tail has one.
    """

    ids: Tensor
    description: slice
    answer: slice | None = None

    def __len__(self) -> int:
        return len(self.ids)


class Prompter:
    """Builds the `Visual` of frames and the `Tail` of texts for one checkpoint.

    Args:
        processor: from `load_processor`.
        kind: the configuration's `model_type`.
        name: the checkpoint, for messages.

    Raises:
        ModelError: neither the checkpoint nor the package's table has a chat template, or the tokenizer is not one of
            the `tokenizers` library.
    """

    def __init__(self, processor: Any, kind: str, name: str) -> None:
        self.processor, self.kind, self.name = processor, kind, name
        self.tokenizer = processor.tokenizer
        self.sees_videos = getattr(processor, "video_processor", None) is not None
        self._template = None if _has_template(processor) else prompts()["templates"].get(kind)
        if self._template is None and not _has_template(processor):
            raise ModelError(
                f"{name}: has no chat template, and none is known for {kind}; put its chat_template.jinja next to it"
            )
        if not self.tokenizer.is_fast:
            raise ModelError(f"{name}: its tokenizer does not return word offsets; convert it to tokenizer.json")
        control = (str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special)
        self._control = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))) or "(?!)")

    def video(self, frames: Frames, question: Question) -> Visual:
        """Prepare a video's frames: as a video if the architecture accepts videos, else as images."""
        if not self.sees_videos:
            return self.images(frames.pixels, question)
        times = VideoMetadata(**time_settings(frames))
        return self._visual(question, {"video": 1}, videos=[frames.pixels], videos_kwargs={"video_metadata": [times]})

    def images(self, pixels: Any, question: Question) -> Visual:
        """Prepare images (n, H, W, 3), or a list of them, for one question."""
        return self._visual(question, {"image": len(pixels)}, images=[list(pixels)])

    def tails(self, texts: Sequence[str], question: Question, *, images: int = 0) -> list[Tail]:
        """Build one tail per text.

        Args:
            texts: descriptions.
            question: the question.
            images: number of images; 0 for a video.

        Raises:
            UsageError: a text is empty or contains one of the tokenizer's control tokens.
        """
        counts = {"image": images} if images else self._counts(1)
        anchor, start = self._tail_text(question, counts)
        return [self._tail(anchor, start, self._checked("description", text)) for text in texts]

    def answered(self, text: str, answer: str, question: Question) -> Tail:
        """Build the tail of a question about a video with its answer, which ends with the tokenizer's last token.

        Raises:
            UsageError: a text is empty or contains one of the tokenizer's control tokens.
            ModelError: the tokenizer has no token for the end of a text.
        """
        if self.tokenizer.eos_token_id is None:
            raise ModelError(f"{self.name}: its tokenizer has no token for the end of an answer")
        anchor, start = self._tail_text(question, self._counts(1))
        return self._tail(anchor, start, self._checked("description", text), self._checked("answer", answer))

    def _checked(self, what: str, text: str) -> str:
        """Return a text without surrounding white space."""
        stripped = text.strip()
        if not stripped:
            raise UsageError(f"{'an' if what[0] in 'aeo' else 'a'} {what} is empty; it needs at least one word")
        if control := self._control.search(stripped):
            raise UsageError(f"the {what} {stripped!r} contains the control token {control.group()!r}; remove it")
        return stripped

    def _counts(self, frames: int) -> dict[str, int]:
        return {"video": 1} if self.sees_videos else {"image": frames}

    def _tail(self, anchor: str, start: str, text: str, answer: str = "") -> Tail:
        """Tokenize the text after the placeholder, behind it as in the whole prompt, and the answer behind that."""
        before, after = start.split(_MARK)
        prompt = f"{anchor}{before}{text}{after}"
        begin = len(prompt)
        if answer:
            prompt += answer if prompt[-1].isspace() else f" {answer}"
        coded = self.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = coded["input_ids"]
        anchor_id = self.tokenizer.convert_tokens_to_ids(anchor)
        if anchor_id not in ids:
            raise ModelError(f"{self.name}: its tokenizer lacks {anchor!r}, its processor's frame placeholder")
        after_frames = ids.index(anchor_id) + 1
        first, last = len(anchor) + len(before), len(anchor) + len(before) + len(text)
        offsets = coded["offset_mapping"][after_frames:]
        inside = [i for i, (a, b) in enumerate(offsets) if a < last and b > first]
        description, tail = slice(inside[0], inside[-1] + 1), ids[after_frames:]
        if not answer:
            return Tail(torch.tensor(tail), description)
        answering = next(i for i, (_, b) in enumerate(offsets) if b > begin)
        return Tail(torch.tensor([*tail, self.tokenizer.eos_token_id]), description, slice(answering, len(tail) + 1))

    def _visual(self, question: Question, counts: Mapping[str, int], **inputs: Any) -> Visual:
        """Return the processor's own tokens of the whole prompt, without the tail."""
        prompt = self._render(question, counts).replace(_MARK, _PROBE)
        bos = self.tokenizer.bos_token
        special = not (bos and prompt.startswith(bos))
        made = self.processor(
            text=[prompt], **inputs, text_kwargs={"add_special_tokens": special, "return_tensors": "pt"}
        )
        made = {key: torch.as_tensor(value) for key, value in made.items()}
        ids = made.pop("input_ids")[0]
        tail = self._tail(*self._tail_text(question, counts), _PROBE).ids
        length = len(ids) - len(tail)
        if length <= 0 or not torch.equal(ids[length:], tail):
            raise ModelError(f"{self.name}: its tokenizer splits the question differently after the frames than alone")
        kinds = {key: made.pop(key)[0, :length] for key in PER_TOKEN & made.keys()}
        kinds.pop("attention_mask", None)
        return Visual(ids[:length], kinds, made)

    def _tail_text(self, question: Question, counts: Mapping[str, int]) -> tuple[str, str]:
        """Return the placeholder, and the text after its last occurrence with a mark for the description."""
        anchor = self._placeholder(next(iter(counts)))
        prompt = self._render(question, counts)
        return anchor, prompt[prompt.rindex(anchor) + len(anchor) :]

    def _placeholder(self, media: str) -> str:
        """Return the token that represents a video or an image."""
        token = getattr(self.processor, f"{media}_token", None)
        if token is None:
            raise ModelError(f"{self.name}: does not accept {media}s ({type(self.processor).__name__} has no token)")
        return str(token)

    def _render(self, question: Question, counts: Mapping[str, int]) -> str:
        """Return the whole prompt, with a mark for the description."""
        text = question.text.replace("{text}", _MARK)
        if self._template is not None:
            vision = "".join(self._placeholder(media) * count for media, count in counts.items())
            return self._template.replace("{vision}", vision).replace("{question}", text)
        content = [{"type": media} for media, count in counts.items() for _ in range(count)]
        message = {"role": "user", "content": [*content, {"type": "text", "text": text}]}
        plain = {"enable_thinking": False} if "enable_thinking" in str(self.processor.chat_template) else {}
        return self.processor.apply_chat_template([message], add_generation_prompt=True, **plain)


_MARK = "\ue000"
"""Mark for the description; from Unicode's private area, so that no text contains it."""
_PROBE = "a"
"""The description used to check a video's prompt."""


def _has_template(processor: Any) -> bool:
    return bool(getattr(processor, "chat_template", None))
