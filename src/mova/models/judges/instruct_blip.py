"""InstructBLIP (Dai et al. 2023, arXiv 2305.06500) as a judge.

Its Q-Former reads the question by a tokenizer of its own. The frames depend on the question, so nothing can be shared
between texts. FlanT5 answers with the first token of its decoder, Vicuna with the next token.

Shape legend: n pairs of an image and a text.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import InstructBlipForConditionalGeneration

from mova.errors import ModelError, refuse_code
from mova.models.hub import find_checkpoint
from mova.models.judges.base import FigureJudge, answers_of, judge_prompt, read_yes
from mova.models.precision import choose_device, choose_dtype, hash_weights, refuse_spreading
from mova.models.video_llm.model import quantization
from mova.models.video_llm.processor import load_processor
from mova.models.video_llm.prompt import Question

KIND = "instructblip"


class InstructBlipJudge(FigureJudge):
    """InstructBLIP, with FlanT5 or Vicuna.

    Args:
        model: the model of transformers.
        processor: its processor, with `qformer_tokenizer`.
        name: display name.
    """

    def __init__(self, model: Any, processor: Any, name: str = "unnamed") -> None:
        self.model, self.processor, self.name = model.eval(), processor, name

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        precision: str = "auto",
        device: str | torch.device | None = None,
        device_map: str | dict[str, Any] | None = None,
        quantise: str | None = None,
    ) -> InstructBlipJudge:
        """Load a checkpoint of transformers; arguments as for `VideoLLM.from_pretrained`.

        Raises:
            ModelError: it cannot be found or loaded.
            UsageError: an option that this machine does not support.
        """
        refuse_spreading(device_map)
        target = choose_device(device)
        dtype = choose_dtype(precision, target)
        options: dict[str, Any] = {"dtype": dtype}
        if quantise is not None:
            options["quantization_config"] = quantization(quantise, target, dtype)
            device_map = device_map or {"": target}
        if device_map is not None:
            options["device_map"] = device_map
        folder = find_checkpoint(name_or_path)
        try:
            with refuse_code(name_or_path):
                model = InstructBlipForConditionalGeneration.from_pretrained(folder, trust_remote_code=False, **options)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise ModelError(f"{name_or_path}: transformers cannot load it as InstructBLIP ({error})") from error
        return cls(
            model if device_map is not None else model.to(target), load_processor(folder, KIND), str(name_or_path)
        )

    def pair_log_probabilities(self, images: Sequence[Any], texts: Sequence[str], question: Question | None) -> Tensor:
        """See `FigureJudge`."""
        prompts = [judge_prompt(KIND, text, question) for text in texts]
        for tokenizer in (self.processor.tokenizer, self.processor.qformer_tokenizer):
            tokenizer.padding_side = "right"  # the image comes first, so nothing may stand between it and the text
        made = self.processor(images=list(images), text=prompts, padding=True, return_tensors="pt")
        known = inspect.signature(self.model.forward).parameters
        inputs = {key: value.to(self.model.device) for key, value in made.items() if key in known}
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        if self._decodes:
            start = self.model.config.text_config.decoder_start_token_id
            inputs["decoder_input_ids"] = torch.full((len(texts), 1), start, device=self.model.device)
        logits = self.model(**inputs).logits
        last = torch.zeros(len(texts), dtype=torch.long) if self._decodes else made["attention_mask"].sum(dim=1) - 1
        logits = logits[torch.arange(len(texts)), last.to(logits.device)]
        return read_yes(logits, answers_of(self.processor.tokenizer, question))

    def fingerprint(self) -> str:
        """Return a hash of weights and prompt."""
        return hashlib.sha256(f"{judge_prompt(KIND, 'x', None)} {self._weights_hash}".encode()).hexdigest()

    @property
    def _decodes(self) -> bool:
        """Whether the language model is an encoder and a decoder."""
        return not self.model.config.use_decoder_only_language_model

    @cached_property
    def _weights_hash(self) -> str:
        return hash_weights({k: v for k, v in self.model.state_dict().items() if isinstance(v, Tensor)})
