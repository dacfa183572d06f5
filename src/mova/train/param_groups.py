"""Which weights learn how fast, and which decay."""

from __future__ import annotations

from typing import Any

from torch import nn

from mova.errors import UsageError

ENCODERS = "backbone."
"""Names of pretrained weights begin so in every model of mova that has some; all others are new modules."""


def parameter_groups(
    model: nn.Module, learning_rate: float, encoder_learning_rate: float | None, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for an optimiser: new modules and encoders, each with and without decay.

    Vectors and scalars (norms, biases, temperatures) do not decay; matrices, kernels and tables do. Frozen weights are
    in no group, and empty groups are left out.

    Args:
        model: its weights named `backbone...` are the encoders.
        learning_rate: of new modules, and of encoders if they have none of their own.
        encoder_learning_rate: of encoders, None for `learning_rate`.
        weight_decay: of what decays.

    Raises:
        UsageError: an encoder rate for a model without encoders, or nothing that can learn.
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
        raise UsageError(
            f"training.encoder_learning_rate: {type(model).__name__} has no pretrained encoders apart from its own "
            "modules; leave it out"
        )
    found = [group for group in groups.values() if group["params"]]
    if not found:
        raise UsageError(f"{type(model).__name__} has no weight that may learn: all are frozen")
    return found
