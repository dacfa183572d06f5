"""Optimizer parameter groups: learning rates and weight decay."""

from __future__ import annotations

from typing import Any

from torch import nn

from mova.errors import UsageError

ENCODERS = "backbone."
"""Prefix of the names of pretrained weights, in every model that has some; all other weights are new modules."""


def parameter_groups(
    model: nn.Module, learning_rate: float, encoder_learning_rate: float | None, weight_decay: float
) -> list[dict[str, Any]]:
    """Return groups for an optimizer: new modules and encoders, each with and without decay.

    Vectors and scalars (norms, biases, temperatures) do not decay; matrices, kernels and tables do. Frozen weights and
    empty groups are excluded.

    Args:
        model: weights named `backbone...` are the encoders.
        learning_rate: learning rate of new modules.
        encoder_learning_rate: learning rate of the encoders; None: `learning_rate`.
        weight_decay: weight decay of matrices, kernels and tables.

    Raises:
        UsageError: an encoder learning rate for a model without encoders, or all weights are frozen.
    """
    rates = {False: learning_rate, True: learning_rate if encoder_learning_rate is None else encoder_learning_rate}
    groups: dict[tuple[bool, bool], dict[str, Any]] = {
        (encoder, decays): {"params": [], "lr": rates[encoder], "weight_decay": weight_decay if decays else 0.0}
        for encoder in (False, True)
        for decays in (True, False)
    }
    names = []
    for name, parameter in model.named_parameters():
        names.append(name)
        if parameter.requires_grad:
            groups[name.startswith(ENCODERS), parameter.ndim >= 2]["params"].append(parameter)
    if encoder_learning_rate is not None and not any(name.startswith(ENCODERS) for name in names):
        raise UsageError(f"training.encoder_learning_rate: {type(model).__name__} has no pretrained encoders; omit it")
    trained = [group for group in groups.values() if group["params"]]
    if not trained:
        raise UsageError(f"{type(model).__name__} has no weights to train; all are frozen")
    return trained
