"""The part of an encoder that compares moments in one respect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mova.models.relations.basis import Relations, respect_of, value_vectors
from mova.models.relations.concepts import known_names, values_of
from mova.scoring.respects import Respect


class Comparing(ABC):
    """Base of `mova.models.encoder.DualEncoder`: respects in which moments can be compared.

    Attributes:
        relations: basis trained for `respect`, if any.
    """

    relations: Relations | None = None

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of weights, architecture and preprocessing: equal fingerprints mean equal vectors."""

    @abstractmethod
    def encode_text(self, texts: str | Sequence[str]) -> Any:
        """Encode one or many texts."""

    @abstractmethod
    def _same_inside(self) -> Any:
        """Return the backbone if it is a dual encoder with the same vectors, else None."""

    def _own_relations(self) -> Relations | None:
        """Return the basis of the model, or else that of a backbone with the same vectors."""
        inner = self._same_inside()
        return self.relations if self.relations is not None or inner is None else inner.relations

    def respect(self, by: str | Sequence[str], center: Tensor | None = None) -> Respect:
        """Return a respect in which moments can be compared, such as "the place" (`mova.models.relations.basis`).

        Args:
            by: name of a concept, or a list of its values, as words or sentences.
            center: (d,), mean unit vector of the frames to be compared; only used without a trained basis.

        Raises:
            UsageError: an unknown concept, or fewer than two values.
        """
        relations = self._own_relations()
        if relations is not None:
            relations = replace(relations, trained=tuple(self.trained_respects()))
        with torch.no_grad():
            return respect_of(by, lambda texts: self.encode_text(texts).pooled, relations, center)

    def concept_values(self, by: str | Sequence[str]) -> Tensor:
        """Return the mean text vectors (K, d) of the values of a concept; errors as for `respect`."""
        relations = self._own_relations()
        _, values = values_of(by, None if relations is None else relations.concepts)
        with torch.no_grad():
            return value_vectors(values, lambda texts: self.encode_text(texts).pooled)

    def trained_respects(self) -> list[str]:
        """Return the names of the concepts for which a basis was trained, and the model not changed since."""
        relations = self._own_relations()
        sound = relations is not None and relations.fingerprint == self.fingerprint()
        return list(relations.trained) if relations is not None and sound else []

    @property
    def comparison_weight(self) -> float:
        """Weight of what two moments share, for captions that compare them; 0: not used (`Relations.weight`)."""
        relations = self._own_relations()
        return relations.weight if relations is not None and self.trained_respects() else 0.0

    def respects(self) -> list[str]:
        """Return the names of the concepts that `respect` knows."""
        relations = self._own_relations()
        return known_names(None if relations is None else relations.concepts)
