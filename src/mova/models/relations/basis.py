"""The learned basis of a model in which concept masks act, its file, and the respect that a concept names.

Both towers share the basis. It is orthogonal, so it changes no cosine, and no vector has to be stored again.

Shape legend: K values of a concept, d width of the shared space.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from mova.errors import ModelError, UsageError
from mova.models.relations.concepts import Values, values_of
from mova.scoring.respects import Respect, axis_energy, concept_mask, rotation, word_subspace

FILE = "relations.safetensors"
Encode = Callable[[Sequence[str]], Tensor]
"""Sentences to pooled vectors (N, d)."""


@dataclass(frozen=True, eq=False)
class Relations:
    """A trained basis with everything that it needs.

    Attributes:
        generator: (d, d), A of the basis `exp(A - A^T)`.
        sharpness, offset: of the concept masks (`concept_mask`).
        center: (d,), mean unit vector of the training frames.
        concepts: sentences of every concept's values, by name.
        trained: concepts that pairs of moments trained; all others use their word subspace.
        fingerprint: of the model whose vectors these are.
        weight: of what two moments share in the score of a caption that compares them (`score_captions`), chosen on
            validation data; 0: not used.

    Example:
        >>> import mova
        >>> mova.load("mova-worlds-tiny", device="cpu").relations.trained
        ('shape', 'color', 'size', 'motion', 'place', 'count')
    """

    generator: Tensor
    sharpness: float
    offset: float
    center: Tensor
    concepts: Mapping[str, Values]
    trained: tuple[str, ...]
    fingerprint: str
    weight: float = 0.0

    def save(self, folder: Path) -> Path:
        """Write the file into a model's folder and return its path."""
        tensors = {"generator": self.generator.contiguous(), "center": self.center.contiguous()}
        tensors["mask"] = torch.tensor([self.sharpness, self.offset], dtype=torch.float64)
        notes: dict[str, Any] = {"concepts": self.concepts, "trained": self.trained, "fingerprint": self.fingerprint}
        notes["weight"] = self.weight
        path = folder / FILE
        path.write_bytes(save(tensors, {"relations": json.dumps(notes)}))
        return path

    @classmethod
    def read(cls, folder: Path) -> Relations | None:
        """Read the file of a model's folder, or return None if there is none.

        Raises:
            ModelError: it is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                notes = json.loads((file.metadata() or {})["relations"])
                sharpness, offset = file.get_tensor("mask").tolist()
                return cls(
                    file.get_tensor("generator"),
                    sharpness,
                    offset,
                    file.get_tensor("center"),
                    notes["concepts"],
                    tuple(notes["trained"]),
                    notes["fingerprint"],
                    float(notes.get("weight", 0.0)),
                )
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read ({error}); delete it, or install the model again") from error

    def mask(self, values: Tensor) -> Respect:
        """Return the respect of a concept's mask in the basis, from its value vectors (K, d)."""
        basis = rotation(self.generator)
        mask = concept_mask(axis_energy(values, basis), self.sharpness, self.offset)
        return Respect(basis * mask, self.center)


def value_vectors(values: Values, encode: Encode) -> Tensor:
    """Return the mean unit vector of each value's sentences, (K, d).

    Example:
        >>> value_vectors([("a", "b"), ("c",)], lambda texts: 2 * torch.eye(3)).tolist()
        [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """
    flat = [sentence for sentences in values for sentence in sentences]
    rows = F.normalize(encode(flat).detach().float().cpu(), dim=-1)
    return torch.stack([part.mean(dim=0) for part in rows.split([len(sentences) for sentences in values])])


def respect_of(
    by: str | Sequence[str], encode: Encode, relations: Relations | None = None, center: Tensor | None = None
) -> Respect:
    """Return the respect that a concept names: its mask if the model has a basis trained for it, else its subspace.

    Args:
        by: name or values of the concept, see `values_of`.
        encode: the text side of the model.
        relations: the trained basis of the model, if it has one.
        center: (d,), mean unit vector of the frames to be compared; default: that of the basis, or zero.

    Example:
        >>> words = {"left": [1.0, 0.0], "right": [-1.0, 0.0]}
        >>> side = respect_of("left, right", lambda texts: torch.tensor([words[text] for text in texts]))
        >>> side.similarity(torch.tensor([[0.1, 1.0]]), torch.tensor([[1.0, -9.0], [-0.1, 1.0]])).tolist()
        [[1.0, -1.0]]

    Raises:
        UsageError: the concept is unknown, or the model's vectors do not tell its values apart.
    """
    name, values = values_of(by, None if relations is None else relations.concepts)
    vectors = value_vectors(values, encode)
    if relations is not None and name in relations.trained:
        return relations.mask(vectors)
    if center is None:
        center = torch.zeros(vectors.shape[1]) if relations is None else relations.center
    try:
        return Respect(word_subspace(vectors), center.float().cpu())
    except ValueError as error:
        raise UsageError(f"by {by!r}: {error}") from error
