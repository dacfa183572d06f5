"""Records of tensors: slices, moves and pinned memory reach every tensor, and loaders treat a record as one."""

from __future__ import annotations

import pickle

import pytest
import torch
from accelerate.utils import send_to_device
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

from mova.data.batch import PairVectors
from mova.data.dataset import BrokenVideo
from tests.support.pair_batches import unread_batch


def test_a_slice_is_a_smaller_batch_and_scalars_stay() -> None:
    vectors = PairVectors(
        torch.arange(12.0).view(4, 1, 3),
        torch.ones(4, 1, dtype=torch.bool),
        torch.zeros(4, 3),
        torch.arange(4),
        torch.tensor(5.0),
    )
    part = vectors.slice(1, 3)
    assert (len(vectors), len(part)) == (4, 2)
    assert part.group.tolist() == [1, 2]
    assert torch.equal(part.frames, vectors.frames[1:3])
    assert part.scale is vectors.scale
    assert part.units is None
    assert len(vectors.slice(0, 0)) == 0


def test_loaders_pin_and_move_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (BrokenVideo("gone.mp4", "no such file"),)
    batch = pickle.loads(pickle.dumps(type(unread_batch(3))(**unread_batch(3).tensors(), broken=broken)))
    moved = send_to_device({"batch": batch}, torch.device("meta"), non_blocking=True)["batch"]
    assert {value.device.type for value in moved.tensors().values()} == {"meta"}
    pinned: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda value: pinned.append(value) or value)
    pinned_batch = pin_memory({"batch": batch})["batch"]
    assert len(pinned) == len(batch.tensors()) == 6
    assert pinned_batch.broken == moved.broken == broken
