"""The Iterative Approximation Module of GEXIA (Wang et al. 2024, arXiv 2412.07704, section 3.2).

A few learnable base vectors repeatedly attend to a dense feature of any size and become its approximation:

    A^0   = SA(CA(A_base, F))                 the unrolled round, with weights of its own
    A^r   = SA_1(CA_1(A^(r-1), F)), r = 1 .. #iter    one shared block

Each sample has its own `#iter`. Samples are sorted by decreasing `#iter`, so those with rounds to go are always the
first rows; nothing is computed for the others. Keys and values of the shared block do not change between rounds and are
computed once; padding is never projected.

The paper specifies linear maps Q, K, V to width D and a self-attention block; norms, residual paths and the
feed-forward layer are ours, those of `Block`. It mentions no positions of frames, so their order has no effect.

Shape legend: B samples, M dense vectors per sample (padded), C their width, N base vectors, D width of the
approximation, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mova.models.layers.attention import Block, attend
from mova.scoring.similarity import full

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of a dense feature: two tensors (B, H, M, D / H)."""


class Round(nn.Module):
    """One approximation: base vectors query a dense feature (CA), then each other (SA).

    Args:
        dense: C.
        width: D.
        heads: H, divides D.
    """

    def __init__(self, dense: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.dense_norm = nn.LayerNorm(width), nn.LayerNorm(dense)
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.keys_values = nn.Linear(dense, 2 * width)
        self.own = Block(width, heads)

    def read(self, features: Tensor, mask: Tensor) -> KeysValues:
        """Compute keys and values of dense features (B, M, C), only where `mask` (B, M) is true."""
        if bool(mask.all()):
            projected = self.keys_values(self.dense_norm(features))
        else:
            packed = self.keys_values(self.dense_norm(features[mask]))
            projected = packed.new_zeros((*mask.shape, packed.shape[-1])).index_put((mask,), packed)
        keys, values = projected.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return keys, values

    def forward(self, base: Tensor, read: KeysValues, mask: Tensor) -> Tensor:
        """Run one round on base vectors (B, N, D), with keys and values from `read` and their mask (B, M)."""
        scale = (base.shape[-1] // self.heads) ** -0.5
        queries = self.query(self.norm(base)).unflatten(-1, (self.heads, -1)).transpose(1, 2) * scale
        mixed = attend(queries, *read, mask[:, None, None, :])
        return self.own(base + self.out(mixed.transpose(1, 2).flatten(-2)))

    def values_of(self, features: Tensor) -> Tensor:
        """Map dense vectors (..., C) to the output (..., D) of a base vector that attends to one alone."""
        values = self.keys_values.weight.chunk(2)[1], self.keys_values.bias.chunk(2)[1]
        return self.out(nn.functional.linear(self.dense_norm(features), *values))


class IterativeApproximation(nn.Module):
    """Approximates dense features of any size by N vectors of width D, in as many rounds as each sample needs.

    Args:
        dense: C.
        width: D.
        bases: N.
        heads: H, divides D.
    """

    def __init__(self, dense: int, width: int, bases: int, heads: int) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.randn(bases, width) * width**-0.5)
        self.unrolled = Round(dense, width, heads)
        self.shared = Round(dense, width, heads)

    def forward(self, features: Tensor, mask: Tensor, rounds: Tensor) -> Tensor:
        """Approximate a batch.

        Args:
            features: (B, M, C).
            mask: bool, (B, M), true where a dense vector is real; at least one per row.
            rounds: int64, (B,), `#iter` of each sample, 0 or more; best on the CPU, where it is read.

        Returns:
            (B, N, D), at least float32.

        Raises:
            ValueError: shapes differ, a sample without a real vector, or a negative number of rounds.
        """
        self._check(features, mask, rounds)
        counts = rounds.cpu()
        decreasing = counts.sort(descending=True, stable=True)
        same = bool((counts == counts[0]).all())
        order = decreasing.indices.to(features.device)
        if not same:
            features, mask = features[order], mask[order]
        state = self.base.expand(len(features), -1, -1)
        state = self.unrolled(state, self.unrolled.read(features, mask), mask)
        active_counts = [int((counts > done).sum()) for done in range(int(decreasing.values[0]))]
        finished: list[Tensor] = []
        if active_counts:
            keys, values = self.shared.read(features[: active_counts[0]], mask[: active_counts[0]])
        for active in active_counts:
            if active < len(state):
                finished.append(state[active:])
            state = self.shared(state[:active], (keys[:active], values[:active]), mask[:active])
        joined = torch.cat([state, *reversed(finished)])
        return full(joined if same else joined[order.argsort()])

    @staticmethod
    def _check(features: Tensor, mask: Tensor, rounds: Tensor) -> None:
        if not (features.ndim == 3 and len(features) and mask.shape == features.shape[:2]):
            raise ValueError(f"features (B, M, C) and a mask (B, M), not {tuple(features.shape)}, {tuple(mask.shape)}")
        if rounds.shape != (len(features),) or bool((rounds < 0).any()):
            raise ValueError(f"rounds must be {len(features)} numbers, 0 or more, not {rounds.tolist()}")
        if not bool(mask.any(dim=1).all()):
            raise ValueError("a sample has only padding, so there is nothing to approximate")
