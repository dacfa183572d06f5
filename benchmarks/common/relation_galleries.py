"""Relation galleries of Worlds as vectors of a model: moments with their facts, and the words of every concept.

Shape legend: N moments, K values of a concept, d width of the shared space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mova.models.relations.basis import value_vectors
from mova.models.worlds_tiny.model import WorldsTiny
from mova.worlds.factors import FACTORS
from mova.worlds.relations import relation_clips, value_sentences

STREAM = 2121
"""First part of all seeds, so that no other draw of Worlds is repeated."""
BATCH = 128


@dataclass(frozen=True, eq=False)
class Gallery:
    """Unit vectors (N, d) of moments, and per factor the index (N,) of the value, -1 where it does not apply."""

    frames: Tensor
    facts: Mapping[str, Tensor]

    def labels(self, factor: str, values: Sequence[str]) -> Tensor:
        """Return the index (N,) of each moment's value in `values`, -1 if it is none of them."""
        index = [values.index(value) if value in values else -1 for value in FACTORS[factor]]
        facts = self.facts[factor]
        return torch.where(facts >= 0, torch.tensor(index)[facts], -1)


def draw_gallery(model: WorldsTiny, seed: Sequence[int], count: int, styles: Sequence[str]) -> Gallery:
    """Render and encode moments."""
    stacks, facts = relation_clips(np.random.default_rng([STREAM, *seed]), count, styles, model.config.image_size)
    with torch.no_grad():
        parts = [model.image_features(torch.from_numpy(stacks[i : i + BATCH])) for i in range(0, count, BATCH)]
    return Gallery(F.normalize(torch.cat(parts), dim=-1), {name: torch.from_numpy(row) for name, row in facts.items()})


def concept_sentences(seed: Sequence[int], named: Mapping[str, Sequence[str]]) -> dict[str, list[list[str]]]:
    """Return sentences about each named value of each concept; no sentence mentions any other value of these."""
    rng = np.random.default_rng([STREAM, *seed])
    return {name: value_sentences(rng, name, values, named) for name, values in named.items()}


def concept_vectors(model: WorldsTiny, sentences: Mapping[str, list[list[str]]]) -> dict[str, Tensor]:
    """Return the value vectors (K, d) of each concept."""
    with torch.no_grad():
        return {
            name: value_vectors(values, lambda texts: model.encode_text(texts).pooled)
            for name, values in sentences.items()
        }
