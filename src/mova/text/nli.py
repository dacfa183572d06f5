"""Does one text follow from another? A natural language inference model of transformers, as a filter of negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mova.errors import ModelError


@dataclass
class Inference:
    """P(the second text follows from the first), by a sequence classifier with a label "entailment".

    Attributes:
        model: name on the hub, or a folder.
        batch: pairs at once.
        device: as torch names it.
    """

    model: str
    batch: int = 16
    device: str = "cpu"

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """A probability a pair (premise, hypothesis); text beyond the model's length is cut.

        Raises:
            ModelError: the model cannot be loaded, or has no such label.
        """
        import torch

        tokenizer, model, label = self._loaded
        found: list[float] = []
        for start in range(0, len(pairs), self.batch):
            one, two = zip(*pairs[start : start + self.batch], strict=True)
            inputs = tokenizer(list(one), list(two), return_tensors="pt", padding=True, truncation=True).to(self.device)
            with torch.inference_mode():
                found += model(**inputs).logits.float().softmax(dim=-1)[:, label].tolist()
        return found

    @cached_property
    def _loaded(self) -> tuple[Any, Any, int]:
        """Tokenizer, model and the place of its label."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.model)
            model = AutoModelForSequenceClassification.from_pretrained(self.model).to(self.device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{self.model}: cannot be loaded as a classifier: {error}") from error
        labels = {str(name).lower(): int(place) for place, name in model.config.id2label.items()}
        if "entailment" not in labels:
            raise ModelError(f"{self.model}: has no label 'entailment', only {', '.join(sorted(labels))}")
        return tokenizer, model, labels["entailment"]
