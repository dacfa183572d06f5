"""Compare moments in one respect: cosines after a linear projection that a concept's words determine.

A concept, such as color, is known by the mean text vector of each of its values (red, blue, ...). Their differences
span the *word subspace*. In an orthogonal basis, their energy per axis makes a *concept mask*. Both become a
projection; frames, or frames and texts, are compared after it.

A caption may say that two of its moments have the same place, or another color (`shared_scores`).

Shape legend: K values of a concept, N and M vectors, C pairs of sentences, T frames, d width of the shared space, r
width of a projection.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mova.scoring.similarity import cosine, full, relevance, unit

SMALLEST_SHARE = 1e-4
"""Directions with less than this share of the largest singular value are rounding errors, not part of a subspace."""
SMALLEST_ENERGY = 1e-6
"""Least energy of an axis, as a share of the mean, so that its logarithm is finite."""


@dataclass(frozen=True, eq=False)
class Respect:
    """One respect in which vectors are compared.

    Attributes:
        projection: float32, (d, r).
        center: float32, (d,), subtracted first: what all frames have in common says nothing about two of them.

    Example:
        >>> color = Respect(torch.tensor([[1.0], [0.0]]), torch.zeros(2))
        >>> color.similarity(torch.tensor([[2.0, 9.0]]), torch.tensor([[1.0, -9.0], [-1.0, 9.0]])).tolist()
        [[1.0, -1.0]]
    """

    projection: Tensor
    center: Tensor

    def project(self, vectors: Tensor) -> Tensor:
        """Return what vectors show in this respect: (..., d) -> (..., r), not normalized.

        Vectors are scaled to length 1 first, as an index stores them.
        """
        unit = torch.nn.functional.normalize(full(vectors).to(self.center.device), dim=-1)
        return (unit - self.center) @ self.projection

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the cosines in this respect: (N, d) and (M, d) -> float32 (N, M)."""
        return cosine(self.project(a), self.project(b))


def rotation(generator: Tensor) -> Tensor:
    """Return the orthogonal matrix `exp(A - A^T)` of any square matrix A; zero gives exactly the identity.

    Example:
        >>> rotation(torch.zeros(2, 2)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    return torch.linalg.matrix_exp(generator - generator.T)


def centered(values: Tensor) -> Tensor:
    """Subtract the mean of a concept's values, (K, d) -> (K, d).

    Example:
        >>> import torch
        >>> centered(torch.tensor([[1.0, 4.0], [3.0, 4.0]]))
        tensor([[-1.,  0.],
                [ 1.,  0.]])

    Raises:
        ValueError: fewer than two values, so that they have no difference.
    """
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"a concept needs at least two values (K, d), not {tuple(values.shape)}")
    return full(values) - full(values).mean(dim=0)


def word_subspace(values: Tensor) -> Tensor:
    """Return an orthonormal basis (d, r) of the differences between a concept's values (K, d); r is at most K - 1.

    Example:
        >>> word_subspace(torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, 5.0]])).abs().T
        tensor([[0.7071, 0.7071, 0.0000]])

    Raises:
        ValueError: fewer than two values, or they are all equal.
    """
    _, strengths, directions = torch.linalg.svd(centered(values), full_matrices=False)
    largest = float(strengths.max())
    kept = directions[strengths > SMALLEST_SHARE * largest][: len(values) - 1]
    if largest <= SMALLEST_SHARE * float(full(values).norm()):
        raise ValueError("the values of a concept have equal vectors, so that nothing tells them apart")
    return kept.T.contiguous()


def axis_energy(values: Tensor, basis: Tensor) -> Tensor:
    """Return the mean square of a concept's centered values (K, d) along each axis of a basis (d, d), (d,).

    Example:
        >>> axis_energy(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.eye(2)).tolist()
        [1.0, 0.0]
    """
    return (centered(values) @ basis).square().mean(dim=0)


def concept_mask(energy: Tensor, sharpness: Tensor | float, offset: Tensor | float) -> Tensor:
    """Return the mask `sigmoid(t log(e / mean e) + c)` over the axes, a plain function of the concept's words.

    Args:
        energy: (..., d), see `axis_energy`.
        sharpness: t; 0 is one mask for all concepts.
        offset: c.

    Example:
        >>> concept_mask(torch.tensor([1.5, 0.5]), sharpness=1.0, offset=0.0)
        tensor([0.6000, 0.3333])
    """
    ratio = energy / energy.mean(dim=-1, keepdim=True).clamp_min(torch.finfo(energy.dtype).tiny)
    return torch.sigmoid(sharpness * ratio.clamp_min(SMALLEST_ENERGY).log() + offset)


def best_pair(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two different frames with the highest sum of the first's and the second's cosine.

    One pass over the frames: the best frame of `second` before and after each frame is a running maximum.

    Args:
        first, second: (C, T) cosines of two sentences, at least two frames.

    Returns:
        int64 (C,), frames of the first, and of the second sentence; of equal pairs the earliest first frame.

    Example:
        >>> best_pair(torch.tensor([[0.9, 0.1, 0.2]]), torch.tensor([[0.8, 0.3, 0.1]]))
        (tensor([0]), tensor([1]))
    """
    low = torch.full_like(second[:, :1], -torch.inf)
    none = torch.zeros_like(second[:, :1], dtype=torch.int64)
    before, where_before = second[:, :-1].cummax(dim=1)
    after, where_after = second.flip(1)[:, :-1].cummax(dim=1)
    last = second.shape[1] - 1
    before, where_before = torch.cat([low, before], dim=1), torch.cat([none, where_before], dim=1)
    after, where_after = torch.cat([after.flip(1), low], dim=1), torch.cat([last - where_after.flip(1), none], dim=1)
    earlier = before >= after
    partner = torch.where(earlier, where_before, where_after)
    chosen = (first + torch.where(earlier, before, after)).argmax(dim=1)
    return chosen, partner.gather(1, chosen[:, None])[:, 0]


def shared_scores(frames: Tensor, first: Tensor, second: Tensor, respect: Respect) -> Tensor:
    """Return how similar the moments of two sentences are in one respect, for several pairs of sentences.

    The moments are the two different frames that show the sentences best (`best_pair`).

    Args:
        frames: (T, d).
        first, second: (C, d), the sentences.
        respect: in which the two frames are compared.

    Returns:
        float32, (C,), cosines; 0 if the video has a single frame, which says nothing.

    Example:
        >>> star, heart = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
        >>> frames = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, -1.0]])
        >>> color = Respect(torch.tensor([[0.0], [0.0], [1.0]]), torch.zeros(3))
        >>> shared_scores(frames, star, heart, color)
        tensor([1.])
    """
    if len(frames) < 2:
        return torch.zeros(len(first), device=frames.device)
    one, two = best_pair(relevance(first, frames), relevance(second, frames))
    seen = unit(respect.project(frames))
    return (seen[one] * seen[two]).sum(dim=-1)
