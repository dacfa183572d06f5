"""Parameter groups: rates of encoders and new modules, and what decays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mova.errors import UsageError
from mova.train.param_groups import parameter_groups


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Embedding(5, 4))
        self.head = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.log_scale = nn.Parameter(torch.tensor(1.0))


def test_every_weight_is_in_exactly_one_correct_group() -> None:
    model = Model()
    model.head[0].bias.requires_grad_(False)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = parameter_groups(model, 1e-4, 1e-7, 0.2)
    names_of = {(group["lr"], group["weight_decay"]): sorted(names[id(p)] for p in group["params"]) for group in groups}
    assert names_of == {
        (1e-4, 0.2): ["head.0.weight"],
        (1e-4, 0.0): ["head.1.bias", "head.1.weight", "log_scale"],
        (1e-7, 0.2): ["backbone.0.weight", "backbone.2.weight"],
        (1e-7, 0.0): ["backbone.0.bias", "backbone.1.bias", "backbone.1.weight"],
    }


def test_encoders_use_the_base_learning_rate_by_default() -> None:
    assert {group["lr"] for group in parameter_groups(Model(), 0.5, None, 0.0)} == {0.5}


def test_an_encoder_rate_needs_encoders_and_trainable_weights() -> None:
    with pytest.raises(UsageError, match="no pretrained encoders"):
        parameter_groups(nn.Linear(2, 2), 1e-4, 1e-7, 0.0)
    with pytest.raises(UsageError, match="frozen"):
        parameter_groups(Model().requires_grad_(False), 1e-4, None, 0.0)
