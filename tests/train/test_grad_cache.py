"""Gradient caching against one pass over the whole batch: same loss, same gradients, same random numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from mova.data.batch import TensorRecord
from mova.errors import UsageError
from mova.losses.contrastive import symmetric_nce
from mova.train.grad_cache import cached_backward, refuse_batch_statistics
from mova.train.objectives.base import CachedEncoder, Encoder, ModelEncoder, Objective


@dataclass(frozen=True, eq=False)
class Batch(TensorRecord):
    videos: Tensor
    texts: Tensor


@dataclass(frozen=True, eq=False)
class Vectors(TensorRecord):
    frames: Tensor
    texts: Tensor
    unused: Tensor
    scale: Tensor
    absent: Tensor | None = None


class Net(nn.Module):
    """Two towers, a temperature, and a head that works on vectors."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        exact = {"dtype": torch.float64}
        self.video = nn.Sequential(nn.Linear(6, 8, **exact), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 4, **exact))
        self.text = nn.Sequential(nn.Dropout(dropout), nn.Linear(5, 4, **exact))
        self.head = nn.Linear(4, 4, **exact)
        self.drop = nn.Dropout(dropout)
        self.scale = nn.Parameter(torch.tensor(1.0, **exact))
        self.calls = 0

    def forward(self, batch: Batch) -> Vectors:
        self.calls += 1
        unused = self.text(batch.texts).detach()
        return Vectors(self.video(batch.videos), self.text(batch.texts), unused, self.scale.exp())


class Contrast(Objective[Batch, Vectors]):
    data = "none"

    def forward(self, batch: Batch, model: Encoder[Batch, Vectors]) -> tuple[Tensor, dict[str, Tensor]]:
        vectors = model(batch)
        pooled = model.net.head(vectors.frames.mean(dim=1)) * torch.rand((), dtype=torch.float64)
        loss = symmetric_nce(vectors.scale * pooled @ vectors.texts.T)
        return loss, {"contrast": loss}


def batch() -> Batch:
    generator = torch.Generator().manual_seed(5)
    shape = {"dtype": torch.float64, "generator": generator}
    return Batch(torch.randn(7, 3, 6, **shape), torch.randn(7, 5, **shape))


def towers(net: Net) -> ModelEncoder:
    return ModelEncoder(net, net, lambda module, inputs: module(inputs))


def in_chunks_with_graph(net: Net, inputs: Batch, chunk: int) -> CachedEncoder:
    """The oracle: chunks encoded one after the other, all their graphs kept."""
    parts = [net(inputs.slice(i, i + chunk)) for i in range(0, 7, chunk)]
    names = [name for name in parts[0].tensors() if name != "scale"]
    return CachedEncoder(net, replace(parts[0], **{n: torch.cat([getattr(p, n) for p in parts]) for n in names}))


@pytest.mark.parametrize("chunk", [1, 2, 3, 6, 7, 100])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients_are_those_of_the_whole_batch(chunk: int, dropout: float) -> None:
    plain, cached = Net(dropout), Net(dropout)
    torch.manual_seed(9)
    if dropout:
        loss, _ = Contrast().forward(batch(), in_chunks_with_graph(plain, batch(), chunk))
    else:
        loss, _ = Contrast().forward(batch(), towers(plain))
    (0.5 * loss).backward()
    next_number = torch.rand(1)
    torch.manual_seed(9)
    cached_loss, parts = cached_backward(Contrast(), batch(), towers(cached), chunk, scale=0.5)
    assert torch.equal(torch.rand(1), next_number)
    assert not cached_loss.requires_grad
    assert abs(float(cached_loss - loss.detach())) < 1e-12
    assert parts.keys() == {"contrast"}
    for (name, weight), cached_weight in zip(plain.named_parameters(), cached.parameters(), strict=True):
        assert torch.allclose(weight.grad, cached_weight.grad, rtol=0, atol=1e-12), name


def test_gradients_are_added_and_each_chunk_is_encoded_twice() -> None:
    once, twice = Net(0.0), Net(0.0)
    for net, times in ((once, 1), (twice, 2)):
        for _ in range(times):
            torch.manual_seed(9)
            cached_backward(Contrast(), batch(), towers(net), 3)
    assert twice.calls == 2 * once.calls == 12
    assert torch.allclose(2 * once.head.weight.grad, twice.head.weight.grad, rtol=0, atol=1e-12)


def test_batch_statistics_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Sequential has batch normalization \(1, 1 in all\)"):
        refuse_batch_statistics(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    refuse_batch_statistics(Net(0.0))
