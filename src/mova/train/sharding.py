"""Sharded training (FSDP2, `training.fsdp`): weights, gradients and optimizer divided among processes.

accelerate shards the model in place (PyTorch's `fully_shard`): each layer's weights are gathered when it runs, and each
process keeps its part of them. What that needs beside transformers' Trainer is here.

`fully_shard` refuses parameters without a dimension, such as CLIP's temperature. They get one of length 1 while they
are trained, and lose it when they are saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from accelerate.utils.operations import convert_to_fp32
from torch import Tensor, nn
from transformers import TrainingArguments

from mova.errors import UsageError
from mova.train.objectives.base import Objective


def refuse_unsharded(args: TrainingArguments, objective: Objective[Any, Any]) -> None:
    """Raise for settings that sharding does not support, before a model is divided.

    Args:
        args: with `fsdp`.
        objective: what is trained.

    Raises:
        UsageError: a single process, or an objective that runs item by item.
    """
    if args.world_size == 1:
        raise UsageError("training.fsdp divides a model among processes, and there is one; start several with torchrun")
    if objective.separable:
        raise UsageError(
            f"training.fsdp: {type(objective).__name__} runs item by item, and processes that exchange weights in "
            "every pass would wait for each other after an unreadable video; train it without"
        )


def give_scalars_a_dimension(model: nn.Module) -> frozenset[str]:
    """Replace the parameters without a dimension by those of length 1, in place; return their names.

    Example:
        >>> import torch
        >>> model = nn.Linear(2, 2)
        >>> model.scale = nn.Parameter(torch.tensor(2.0))
        >>> give_scalars_a_dimension(model), model.scale.shape
        (frozenset({'scale'}), torch.Size([1]))
    """
    names = [name for name, parameter in model.named_parameters() if parameter.ndim == 0]
    for name in names:
        place, _, attribute = name.rpartition(".")
        owner = model.get_submodule(place)
        scalar = getattr(owner, attribute)
        setattr(owner, attribute, nn.Parameter(scalar.detach().reshape(1), requires_grad=scalar.requires_grad))
    return frozenset(names)


def take_dimension(weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Return a state dictionary whose parameters of these names have no dimension again.

    Example:
        >>> import torch
        >>> take_dimension({"scale": torch.ones(1), "bias": torch.ones(1)}, {"scale"})
        {'scale': tensor(1.), 'bias': tensor([1.])}
    """
    scalars = set(names)
    return {name: value.reshape(()) if name in scalars else value for name, value in weights.items()}


def in_mixed_precision(model: nn.Module, device: torch.device) -> Callable[..., Any]:
    """Return a function that runs a sharded model in bf16 with weights in float32, and returns float32.

    Processes that hold whole models run in this way, too (accelerate wraps them). FSDP's own mixed precision would cast
    the weights, also for heads that work on vectors in float32.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return convert_to_fp32(model(*args, **kwargs))

    return run
