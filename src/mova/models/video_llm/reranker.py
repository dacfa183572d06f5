"""Qwen3-VL-Reranker (QwenLM/Qwen3-VL-Embedding, 2026): a vision-language model that judges a query with a document.

The document is a video here. The system's message asks for "yes" or "no"; the user's message holds an instruction, the
query and the video, in this order, so that the video runs again with every query. The score is the logit of "yes" minus
that of "no" where the answer begins; its sigmoid is the published score. Frames are resized as for video LLMs.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import torch
from torch import Tensor
from transformers.video_utils import VideoMetadata

from mova.errors import ModelError, UsageError
from mova.models.entailment import EntailmentModel
from mova.models.qwen_embedding.checkpoints import is_reranker
from mova.models.video_llm.frames import time_settings
from mova.models.video_llm.model import VideoLLM
from mova.models.video_llm.prompt import Budget, Question
from mova.types import Frames

SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
    'answer can only be "yes" or "no".'
)
INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."
"""The instruction that the published code uses if none is given."""
BUDGET = Budget(rate=1.0, least=4, most=64, multiple=2)
"""Frames per video, as in the published code."""


class QwenReranker(EntailmentModel):
    """A Qwen3-VL-Reranker, asked about videos.

    Args:
        llm: the model with its processor.
        instruction: what counts as relevant.

    Raises:
        ModelError: the tokenizer has no single tokens "yes" and "no".

    >>> model = QwenReranker.from_pretrained("tiny-vl-reranker", max_frames=4, device="cpu")  # random weights
    >>> model.log_odds("film.mp4", ["Two black discs shrink.", "A dog runs."]).shape
    torch.Size([2])
    """

    def __init__(self, llm: VideoLLM, instruction: str = INSTRUCTION) -> None:
        self._llm, self.instruction = llm, instruction
        self.name, self.question, self.max_frames = llm.name, llm.question, llm.max_frames
        self.budget = llm.budget = BUDGET
        vocabulary = llm.prompter.tokenizer.get_vocab()
        if not {"yes", "no"} <= vocabulary.keys():
            raise ModelError(f"{self.name}: its tokenizer has no tokens yes and no, which answer a reranker's question")
        self._answers = vocabulary["yes"], vocabulary["no"]

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        instruction: str = INSTRUCTION,
        question: Question | None = None,
        **options: Any,
    ) -> Self:
        """Load a checkpoint in the Hub's layout.

        Args:
            name_or_path: a folder or a name on the Hub.
            instruction: see the class.
            question: must be None.
            options: `precision`, `device`, `device_map`, `quantise` and `max_frames`, as for `VideoLLM`.

        Raises:
            ModelError: it cannot be found or loaded.
            UsageError: a question, or an option that this machine cannot serve.
        """
        if question is not None:
            raise UsageError(f"{name_or_path}: is a reranker, which has a question of its own; leave the prompt out")
        return cls(VideoLLM.from_pretrained(name_or_path, **options), instruction)

    def sample(self, video: str | Path, start: float = 0.0, end: float | None = None) -> Frames:
        """Read one frame per second of `[start, end)`, at least 4 and at most 64.

        Raises:
            VideoError: the file cannot be read.
        """
        self._llm.decoder = self.decoder
        return self._llm.sample(video, start, end)

    def prepare(self, video: str | Path | Frames) -> Any:
        """Return the frames of a video: the prompt around them depends on the query."""
        return video if isinstance(video, Frames) else self.sample(video)

    def tails(self, texts: Sequence[str]) -> Any:
        """Return queries without surrounding white space.

        Raises:
            UsageError: a text is empty or contains one of the tokenizer's control tokens.
        """
        self._llm.tails(texts)
        return [text.strip() for text in texts]

    @torch.inference_mode()
    def log_odds(self, video: str | Path | Frames, texts: Sequence[Any]) -> Tensor:
        """Return the logit of yes minus that of no, of every query about one video: float32, (N,), on the CPU."""
        frames, queries = self.prepare(video), self.tails(texts)
        return torch.tensor([self._odds(frames, query) for query in queries], dtype=torch.float32)

    def _odds(self, frames: Frames, query: str) -> float:
        user = [*map(_text, (f"<Instruct>: {self.instruction}", "<Query>:", query, "\n<Document>:")), {"type": "video"}]
        messages = [{"role": "system", "content": [_text(SYSTEM)]}, {"role": "user", "content": user}]
        processor, model = self._llm.prompter.processor, self._llm.model
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        made = processor(
            text=[prompt],
            videos=[frames.pixels],
            videos_kwargs={"video_metadata": [VideoMetadata(**time_settings(frames))]},
            text_kwargs={"return_tensors": "pt"},
        )
        accepted = inspect.signature(model.forward).parameters
        inputs = {key: torch.as_tensor(value).to(model.device) for key, value in made.items() if key in accepted}
        wide = {key: value.to(model.dtype) for key, value in inputs.items() if value.is_floating_point()}
        logits = model(**{**inputs, **wide}, use_cache=False, logits_to_keep=1).logits[0, -1].float()
        yes, no = self._answers
        return float(logits[yes] - logits[no])

    def figure_scores(self, images: Any, texts: Sequence[str], *, question: Question | None = None) -> NoReturn:
        """Raise: only videos are judged.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{self.name}: is a reranker of videos, and judges no single images; use a video LLM")

    def fingerprint(self) -> str:
        """Return a hash of weights, instruction and frame budget."""
        return hashlib.sha256(f"{self._llm.fingerprint()} {self.instruction}".encode()).hexdigest()


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def load_answering(name_or_path: str | Path, **options: Any) -> EntailmentModel:
    """Load a model that answers Yes or No: a video or image LLM, or a reranker; options as for `VideoLLM`.

    Raises:
        ModelError, UsageError: see `VideoLLM.from_pretrained`.
    """
    if is_reranker(name_or_path):
        return QwenReranker.from_pretrained(name_or_path, **options)
    return VideoLLM.from_pretrained(name_or_path, **options)
