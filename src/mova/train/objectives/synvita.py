"""SynViTA's objective on a batch of triplets (SynViTA, Zanella et al. 2025, Eq. 7).

A batch of kind `triplets` has one entry per triplet in each of:

    real, synthetic  lists of `Visual`; None if a triplet has no synthetic video to learn from
    tails            list of (caption, negative caption) as `Tail`
    keep             list of their masks of Eq. 6; None if nothing is masked
    weights          float32 (n,), 0 without a synthetic video
    shares           float32 (n,), factor of Eq. 2: below 1 where a triplet is listed once per synthetic video

Its vectors are `log_odds` and, if Eq. 6 is used, `common`, both (n, 2, 2) as in `losses/entailment.py`. For triplets
without a synthetic video, entries that Eq. 2 does not use are 0, and their weight of 0 excludes them from every sum.

Shape legend: n triplets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mova.data.synthetic_weights import Strategy
from mova.errors import UsageError
from mova.losses.entailment import MARGIN, synvita_loss
from mova.train.objectives.base import Encoder, Objective, Tensors

Use = Literal[Strategy, "none"]
"""A strategy of Table 4, or `none`: real videos only, Eq. 2."""


@dataclass(frozen=True, eq=False)
class Synvita(Objective[Tensors, Tensors]):
    """Eq. 7: real videos, weighted synthetic ones, semantic consistency.

    Raises:
        UsageError: an unknown strategy, or a number below 0.
    """

    data = "triplets"
    separable = True
    strategy: Use = "difference"
    """Weighting of synthetic videos, see `data/synthetic_weights.py`; `none`: real videos only (Eq. 2)."""
    consistency: float = 1e-2
    """Lambda, the weight of Eq. 6; 0 omits it and its forward passes, and so does strategy `none`."""
    margin: float = MARGIN
    """Gamma of Eq. 6."""
    compat: bool = False
    """Whether the shared part of captions is found as the published code does (`text/common_subsequence.py`)."""

    def __post_init__(self) -> None:
        known = (*get_args(Strategy), "none")
        if self.strategy not in known:
            raise UsageError(f"objective.strategy {self.strategy!r} is unknown; choose from {', '.join(known)}")
        if self.consistency < 0 or self.margin < 0:
            raise UsageError(f"consistency and margin must be 0 or more, not {self.consistency} and {self.margin}")

    @property
    def consistency_weight(self) -> float:
        """Lambda; 0 without synthetic videos."""
        return 0.0 if self.strategy == "none" else self.consistency

    def forward(self, batch: Tensors, model: Encoder[Tensors, Tensors]) -> tuple[Tensor, Tensors]:
        """Return the loss of Eq. 7 and its parts.

        Also logged are `weight` (mean over triplets), `shown` (share of triplets with a synthetic video to learn from)
        and `above` (share whose caption scores above the negative one on the real video).
        """
        vectors, weights = model(batch), batch["weights"]
        log_odds = vectors["log_odds"]
        loss, parts = synvita_loss(
            log_odds, weights, vectors.get("common"), self.consistency_weight, self.margin, batch.get("shares")
        )
        true, false = log_odds.detach()[:, 0].unbind(dim=1)
        logged = {"weight": weights, "shown": (weights > 0).float(), "above": (true > false).float()}
        return loss, parts | {name: value.mean() for name, value in logged.items()}


def encode_triplets(llm: Any, module: Any, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Return the vectors of a batch, see the module. Every video runs through the model once.

    Args:
        llm: the `VideoLLM`.
        module: called in place of its model: PEFT's wrapper, possibly wrapped again.
        batch: a batch of `train/sources/triplets.py: TripletCollator`.
    """
    log_odds: list[Tensor] = []
    common: list[Tensor] = []
    for real, synthetic, tails, keep in zip(
        batch["real"], batch["synthetic"], batch["tails"], batch["keep"], strict=True
    ):
        masked = keep is not None and synthetic is not None
        prompts = [*tails, *tails] if masked else list(tails)
        kept = [None, None, *keep] if masked else None
        rows = [
            llm.packed_log_odds(video, prompts, keep=kept, run=module)
            for video in (real, synthetic)
            if video is not None
        ]
        scores = torch.stack(rows if len(rows) == 2 else [rows[0], torch.zeros_like(rows[0])])
        log_odds.append(scores[:, :2])
        common.append(scores[:, 2:] if masked else torch.zeros_like(scores[:, :2]))
    vectors = {"log_odds": torch.stack(log_odds)}
    if any(keep is not None for keep in batch["keep"]):
        vectors["common"] = torch.stack(common)
    return vectors
