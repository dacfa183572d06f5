"""SynViTA's objective on a batch of triplets (SynViTA, Zanella et al. 2025, Eq. 7).

A batch of kind `triplets` has one entry per triplet in each of:

    real, synthetic  lists of `Visual`; None if a triplet has no synthetic video to learn from
    tails            list of (caption, negative caption) as `Tail`
    keep             list of their masks of Eq. 6; None if nothing is masked
    weights          float32 (n,), 0 without a synthetic video
    shares           float32 (n,), factor of Eq. 2: below 1 where a triplet is listed once per synthetic video
    explained        only if explanations are trained: list of `Tail` with an answer; None without an explanation

Its vectors are `log_odds` and, if Eq. 6 is used, `common`, both (n, 2, 2) as in `losses/entailment.py`; and, with
`explained`, `explanation`, (n,), 0 without one. For triplets without a synthetic video, entries that Eq. 2 does not use
are 0, and their weight of 0 excludes them from every sum.

Shape legend: n triplets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mova.data.synthetic_weights import Strategy
from mova.errors import UsageError
from mova.losses.entailment import MARGIN, explanation_loss, synvita_loss
from mova.models.video_llm.explanation import answer_and_explain
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
    explanation: float = 0.0
    """Weight of VideoCon's second task: the log-likelihood of explanations; 0 omits them."""
    compat: bool = False
    """Whether the shared part of captions is found as the published code does (`text/common_subsequence.py`)."""

    def __post_init__(self) -> None:
        known = (*get_args(Strategy), "none")
        if self.strategy not in known:
            raise UsageError(f"objective.strategy {self.strategy!r} is unknown; choose from {', '.join(known)}")
        weights = {name: getattr(self, name) for name in ("consistency", "margin", "explanation")}
        if negative := [f"objective.{name} {value}" for name, value in weights.items() if value < 0]:
            raise UsageError(f"{', '.join(negative)}: must be 0 or more")

    @property
    def consistency_weight(self) -> float:
        """Lambda; 0 without synthetic videos."""
        return 0.0 if self.strategy == "none" else self.consistency

    def forward(self, batch: Tensors, model: Encoder[Tensors, Tensors]) -> tuple[Tensor, Tensors]:
        """Return the loss of Eq. 7 and its parts.

        Also logged are `weight` (mean over triplets), `shown` (share of triplets with a synthetic video to learn from),
        `above` (share whose caption scores above the negative one on the real video) and, if explanations are trained,
        `explained` (share of triplets with one).
        """
        vectors, weights = model(batch), batch["weights"]
        log_odds = vectors["log_odds"]
        loss, parts = synvita_loss(
            log_odds, weights, vectors.get("common"), self.consistency_weight, self.margin, batch.get("shares")
        )
        true, false = log_odds.detach()[:, 0].unbind(dim=1)
        logged = {"weight": weights, "shown": (weights > 0).float(), "above": (true > false).float()}
        if self.explanation:
            explained_loss = vectors["explanation"]
            parts["explanation"] = explanation_loss(explained_loss, batch.get("shares"))
            loss = loss + self.explanation * parts["explanation"]
            logged["explained"] = (explained_loss.detach() > 0).float()
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
    explained_loss: list[Tensor] = []
    explanations = batch.get("explained", [None] * len(batch["tails"]))
    for real, synthetic, tails, keep, explained in zip(
        batch["real"], batch["synthetic"], batch["tails"], batch["keep"], explanations, strict=True
    ):
        masked = keep is not None and synthetic is not None
        prompts = [*tails, *tails] if masked else list(tails)
        kept = [None, None, *keep] if masked else None
        if explained is None:
            rows = [llm.packed_log_odds(real, prompts, keep=kept, run=module)]
            explained_loss.append(torch.zeros_like(rows[0][0]))
        else:
            odds, loss = answer_and_explain(llm, real, prompts, explained, keep=kept, run=module)
            rows = [odds]
            explained_loss.append(loss)
        if synthetic is None:
            rows.append(torch.zeros_like(rows[0]))
        else:
            rows.append(llm.packed_log_odds(synthetic, prompts, keep=kept, run=module))
        scores = torch.stack(rows)
        log_odds.append(scores[:, :2])
        common.append(scores[:, 2:] if masked else torch.zeros_like(scores[:, :2]))
    vectors = {"log_odds": torch.stack(log_odds)}
    if any(keep is not None for keep in batch["keep"]):
        vectors["common"] = torch.stack(common)
    if "explained" in batch:
        vectors["explanation"] = torch.stack(explained_loss)
    return vectors
