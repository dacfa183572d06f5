"""Gathering over two real processes (gloo, CPU) against one process with the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mova.distributed import average_gradients, gather_with_gradient, rank, world_size
from mova.losses.contrastive import symmetric_nce
from tests.support.ports import free_port
from tests.support.processes import run_processes

ROWS = (3, 5)
"""Rows of each process: they differ."""


class Pairs(nn.Module):
    """Two towers and a temperature."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.video, self.text = nn.Linear(6, 4, dtype=torch.float64), nn.Linear(5, 4, dtype=torch.float64)
        self.scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, videos: Tensor, texts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.video(videos).tanh(), self.text(texts).tanh(), self.scale.exp()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = {"dtype": torch.float64, "generator": generator}
    return torch.randn(sum(ROWS), 6, **shape), torch.randn(sum(ROWS), 5, **shape)


def loss_of(vectors: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    videos, texts, scale = vectors
    videos, texts = gather_with_gradient(videos), gather_with_gradient(texts)
    return symmetric_nce(scale * videos @ texts.T)


def work(number: int, port: int, folder: str) -> None:
    """What each process does; rank 0 writes down what came out."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=number, world_size=2)
    assert (rank(), world_size()) == (number, 2)
    first = sum(ROWS[:number])
    local = tuple(part[first : first + ROWS[number]] for part in batch())
    wrapped = DistributedDataParallel(Pairs())
    loss = loss_of(wrapped(*local))
    loss.backward()
    result = {name: p.grad for name, p in wrapped.module.named_parameters()}
    by_hand = Pairs()
    loss_of(by_hand(*local)).backward()
    average_gradients(by_hand.parameters())
    padded = gather_with_gradient(torch.full((2, number + 1), number + 1.0))
    flags = gather_with_gradient(torch.ones(number, 2, dtype=torch.bool))
    ids = gather_with_gradient(torch.arange(3) + 10 * number)
    if number == 0:
        expected = {name: p.grad for name, p in by_hand.named_parameters()}
        torch.save((loss.detach(), result, expected, padded, flags, ids), f"{folder}/found.pt")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    folder: Path = tmp_path_factory.mktemp("gloo")
    port = free_port()
    run_processes(work, (port, str(folder)), 2)
    return torch.load(folder / "found.pt")


def test_two_processes_have_the_gradient_of_one_with_the_whole_batch(result: tuple) -> None:
    alone = Pairs()
    loss = loss_of(alone(*batch()))
    loss.backward()
    assert abs(float(result[0] - loss.detach())) < 1e-12
    for name, parameter in alone.named_parameters():
        assert parameter.grad is not None
        for gradients in result[1:3]:
            assert torch.allclose(gradients[name], parameter.grad, rtol=0, atol=1e-12), name


def test_other_dimensions_are_padded_and_types_are_kept(result: tuple) -> None:
    _, _, _, padded, flags, ids = result
    assert padded.tolist() == [[1, 0], [1, 0], [2, 2], [2, 2]]
    assert flags.dtype == torch.bool
    assert flags.tolist() == [[True, True]]
    assert ids.tolist() == [0, 1, 2, 10, 11, 12]


def test_one_process_changes_nothing() -> None:
    rows = torch.ones(2, 3, requires_grad=True)
    assert (rank(), world_size()) == (0, 1)
    assert gather_with_gradient(rows) is rows
    rows.sum().backward()
    average_gradients([rows])
    assert torch.equal(rows.grad, torch.ones(2, 3))
    with pytest.raises(ValueError, match="scalar"):
        gather_with_gradient(torch.tensor(1.0))
