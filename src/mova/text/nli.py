"""Natural language inference with a transformers model: does one text entail another?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mova.errors import ModelError, refuse_code


@dataclass
class NLIModel:
    """P(the first text entails the second), from a sequence classifier with a label "entailment".

    Attributes:
        model: Hub name or folder.
        batch: pairs per batch.
        device: torch device.
    """

    model: str
    batch: int = 16
    device: str = "cpu"

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return one probability per pair (premise, hypothesis). Text beyond the model's length is truncated.

        Raises:
            ModelError: the model cannot be loaded, or has no label "entailment".
        """
        import torch

        tokenizer, model, label = self._loaded
        probabilities: list[float] = []
        for start in range(0, len(pairs), self.batch):
            premises, hypotheses = zip(*pairs[start : start + self.batch], strict=True)
            inputs = tokenizer(list(premises), list(hypotheses), return_tensors="pt", padding=True, truncation=True).to(
                self.device
            )
            with torch.inference_mode():
                probabilities += model(**inputs).logits.float().softmax(dim=-1)[:, label].tolist()
        return probabilities

    @cached_property
    def _loaded(self) -> tuple[Any, Any, int]:
        """Tokenizer, model, and index of the label "entailment"."""
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            with refuse_code(self.model):
                tokenizer = AutoTokenizer.from_pretrained(self.model, trust_remote_code=False)
                model = AutoModelForSequenceClassification.from_pretrained(self.model, trust_remote_code=False)
            model = model.to(self.device).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{self.model}: cannot be loaded as a classifier: {error}") from error
        labels = {str(name).lower(): int(index) for index, name in model.config.id2label.items()}
        if "entailment" not in labels:
            raise ModelError(f"{self.model}: has no label 'entailment', only {', '.join(sorted(labels))}")
        return tokenizer, model, labels["entailment"]
