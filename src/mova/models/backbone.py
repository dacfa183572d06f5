"""The contract of backbones: dual encoders that models of other families can wrap."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

import torch

from mova.data.negatives.interchange import Counterfactual, Interchangeable
from mova.models.encoder import DualEncoder

START_SCALE = 1 / 0.07
"""Factor on cosines in training around checkpoints that publish none: the one that CLIP starts from (Radford et al.
2021). It is not learned."""


class Backbone(DualEncoder):
    """A dual encoder that other models wrap and save in their own folder.

    A wrapper needs more than these methods: see the uses of `backbone` in `models/mova/` and `models/gexia/`.

    Attributes:
        interchangeable: the model's own vocabulary, as phrases that exclude each other; None: everyday English.
        renumber: sentence -> the same with other numbers of its subject, in the model's own vocabulary; None: none.
        has_token_states: whether texts have a state per token, not their own vector alone.
        keeps_files: whether a wrapper keeps the files of its checkpoint beside its own weights, and so leaves its
            weights as they are.
    """

    has_token_states: bool = True
    keeps_files: bool = False

    interchangeable: Interchangeable | None = None
    renumber: Callable[[str], Iterable[Counterfactual]] | None = None

    def trained_scale(self) -> float | None:
        """Return the factor s with which softmax(s * cosines) was trained to be a probability; None: there is none."""
        scale = getattr(self, "logit_scale", None)
        return None if scale is None else scale.detach().item()

    @property
    def text_length(self) -> int | None:
        """Maximum number of tokens per text if it can be chosen; else None."""
        return None

    def prepare(self, precision: str, device: str | torch.device | None) -> Self:
        """Move to a device and a precision, ready to encode."""
        raise NotImplementedError

    def load_tokenizer_from(self, folder: Path) -> None:
        """Load the tokenizer from a wrapper's folder, unless the configuration holds it."""

    def save_tokenizer_to(self, folder: str | Path) -> None:
        """Save the tokenizer to a wrapper's folder, unless the configuration holds it."""

    def warn_of_rounding(self) -> None:
        """Log a warning if the weights that are about to be saved do not have full precision."""

    def freeze_bias(self) -> None:
        """Freeze weights that contrastive training leaves without a gradient."""
