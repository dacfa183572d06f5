"""Galleries of captions that say "the same place" or "another place", as vectors of a model, and the weight to use.

Shape legend: V videos = captions, T frames, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common.systems import both_ways
from mova.models.relations.comparisons import read_comparisons
from mova.models.relations.concepts import concept_name
from mova.models.worlds_tiny.model import WorldsTiny
from mova.scoring.caption_score import EvidenceRule
from mova.scoring.respects import best_pair
from mova.scoring.similarity import relevance
from mova.worlds.galleries import render_shorts
from mova.worlds.relations import comparison_pairs

STREAM = 2323
"""First part of all seeds, so that no other draw of Worlds is repeated."""
CONCEPTS = ("colour", "motion", "place")
"""Factors with several values that a sentence may leave out."""
BATCH = 128
WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of videos whose captions differ in "the same" or "another" alone.

    Attributes:
        concept: what is compared.
        frames: (V, T, d), unit vectors.
        units: (V, 2, d), sentences without the words of the comparison.
        signs: (V,), 1 for "the same", -1 for "another".
        late: (V, V), late interaction of videos and captions.
    """

    concept: str
    frames: Tensor
    units: Tensor
    signs: Tensor
    late: Tensor


@torch.no_grad()
def draw_pairs(
    model: WorldsTiny,
    seed: Sequence[int],
    concept: str,
    count: int,
    values: Sequence[str] | None,
    styles: Sequence[str],
) -> Pairs:
    """Render and encode `count` pairs."""
    rng = np.random.default_rng([STREAM, *seed])
    shorts = comparison_pairs(rng, concept, count, values)
    stacks = torch.from_numpy(render_shorts(shorts, rng, styles, model.config.image_size))
    parts = [model.image_features(chunk) for chunk in stacks.flatten(0, 1).split(BATCH)]
    frames = F.normalize(torch.cat(parts), dim=-1).unflatten(0, stacks.shape[:2])
    read = [read_comparisons(short.sentences, [concept_name(concept)]) for short in shorts]
    units = torch.stack(model.encode_unit_lists([rest for rest, _ in read]))
    signs = torch.tensor([1.0 if found[0].same else -1.0 for _, found in read])
    return Pairs(concept, frames, units, signs, EvidenceRule().score(list(frames), list(units)))


def shared(pairs: Pairs, project: Callable[[str, Tensor], Tensor], center: Tensor) -> Tensor:
    """Return (+-) the similarity of the two moments of every caption in every video, (V, V)."""
    rows = []
    for frames in pairs.frames:
        one, two = best_pair(relevance(pairs.units[:, 0], frames), relevance(pairs.units[:, 1], frames))
        seen = F.normalize(project(pairs.concept, frames - center), dim=-1)
        rows.append(pairs.signs * (seen[one] * seen[two]).sum(dim=-1))
    return torch.stack(rows)


def recall(late: Tensor, second: Tensor, weight: float) -> tuple[float, float]:
    """Return R@1 of `late + weight * second` in both directions, in percent; ties count by expected rank."""
    return both_ways((late + weight * second).double().numpy())


def told_apart(late: Tensor, second: Tensor, weight: float) -> float:
    """Return how often a caption scores its own video above the other one of its pair, in percent; a tie is half."""
    scores = (late + weight * second).double()
    own = scores.diagonal()
    other = scores[torch.arange(len(own)) ^ 1, torch.arange(len(own))]
    return 100 * float(((own > other).double() + 0.5 * (own == other).double()).mean())


def choose_weight(galleries: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the weight with the highest sum of R@1 over (late, second) of galleries; of equal ones the smallest."""
    return max(WEIGHTS, key=lambda w: (round(sum(sum(recall(*pair, w)) for pair in galleries), 6), -w))
