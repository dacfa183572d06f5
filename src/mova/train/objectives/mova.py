"""MoVA's objective: global contrast, late interaction, mask losses and the subset form, each with its own weight.

The presets are the sums that belong to the presets of the model (`models/mova/config.py`). The published form can be
minimized without comparing text and video. Every run therefore logs whether that happens: the loss on rolled captions,
matched against mismatched scores with masks computed anew, and how the masks are used (`losses/diagnostics.py`).

Shape legend: V videos, N = V texts, T frames, L tokens, K units per text, P pairs, d width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from mova.data.batch import PairVectors
from mova.errors import UsageError
from mova.losses.diagnostics import mask_use, matching, prefixed, rolled_caption_gap
from mova.losses.global_contrast import mean_pooled_scores, relevance_pooled_scores, score_nce, unit_scores
from mova.losses.hard_pairs import pair_nce, sample_hard_pairs
from mova.losses.masked_contrast import (
    MARGIN,
    concept_nce,
    expected_l0,
    frame_weights,
    temporal_hinge,
    temporal_nce,
)
from mova.losses.matching_contrast import matching_nce
from mova.losses.pairwise import Energy
from mova.models.mova.masks import ModularMasks
from mova.models.mova.model import Mova
from mova.scoring.masked import ModularScore, modular_score
from mova.train.objectives.base import PairObjective, Tensors

WEIGHTS: dict[str, dict[str, float]] = {
    "control": {"late": 1.0, "pooled": 0.5},
    "subsets": {"subsets": 1.0, "pooled": 0.5},
    "paper": {"pooled": 1.0, "temporal": 1.0, "same_frame": 1.0, "different_frame": 1.0, "sparsity": 0.01},
    "repaired": {
        "pooled": 1.0,
        "relevance": 1.0,
        "temporal": 0.1,
        "same_frame": 0.1,
        "different_frame": 0.1,
        "sparsity": 0.01,
    },
}
"""Weights by preset; a term that is not named has weight 0."""
MASK_TERMS = ("temporal", "same_frame", "different_frame", "matching", "sparsity", "pairs")
TERMS = ("late", "subsets", "relevance", "pooled", *MASK_TERMS)
SCORING_FORMS = {
    "subsets": "modular",
    "late": "rule",
    "relevance": "relevance",
    "pooled": "global",
    "pairs": "modular",
    "different_frame": "mod",
    "same_frame": "mod",
    "temporal": "tv",
}
"""Term -> the form of `eval/tasks/scoring_forms.py` with the same scores; the first term with a weight decides.
Of pairs, it is that of `objective.score`. The mask terms after pairs contrast single frames, whose mean is the form."""
MASK_TAU = 0.07
"""Temperature of the mask losses."""


@dataclass(eq=False)
class MovaObjective(PairObjective):
    """The weighted sum of MoVA's terms; formulas in `losses/global_contrast.py` and `losses/masked_contrast.py`.

    Raises:
        UsageError: a preset, form, or term that does not exist, or a number out of its range.
    """

    units = True
    reads = ("tokens", "token_mask", "units", "unit_mask")
    by_matches = False  # mask losses compare videos by their group

    preset: str = "subsets"
    """The weights to start from, one of `WEIGHTS`; in a recipe it is that of the model."""
    temporal_form: Literal["nce", "hinge"] = "nce"
    """Form of L_tv."""
    margin: float = MARGIN
    """Margin of L_tv."""
    tau: float = MASK_TAU
    """Temperature of the mask losses."""
    diagnose_every: int = 100
    """Steps from one look at the diagnostics to the next; 0: never."""
    late: float | None = None
    """Weight of late interaction; like all weights that follow, null keeps that of the preset."""
    subsets: float | None = None
    """Weight of the subset form."""
    relevance: float | None = None
    """Weight of the contrast on relevant frames."""
    pooled: float | None = None
    """Weight of the global contrast."""
    temporal: float | None = None
    """Weight of L_tv."""
    same_frame: float | None = None
    """Weight of L_sfdm."""
    different_frame: float | None = None
    """Weight of L_dfsm."""
    sparsity: float | None = None
    """Weight of L_s."""
    temporal_same_video: bool = True
    """Whether other frames of the same video are negatives of L_tv."""
    different_frame_same_video: bool = False
    """Whether other frames of the same video are negatives of L_dfsm."""
    pairs: float | None = None
    """Weight of mismatched pairs with masks of their own; needs a model with `pair_negatives`."""
    matching: float | None = None
    """Weight of frames under their own concept mask against the texts of all videos, the contrast of the theory."""
    energy: Energy = "cosine"
    """How L_tv (form nce), L_sfdm, L_dfsm and `matching` compare: by cosine, or by distance on vectors as they are."""
    score: ModularScore = "agg"
    """Score of a pair through its masks: that of mismatched pairs and of the diagnostics. One of
    `scoring/masked.py: modular_score`; in `agg`, the temporal mask is only an input of the concept mask."""

    def __post_init__(self) -> None:
        if self.preset not in WEIGHTS:
            raise UsageError(f"objective.preset {self.preset!r} is unknown; choose from {', '.join(WEIGHTS)}")
        weights = {name: getattr(self, name) for name in TERMS if getattr(self, name) is not None}
        if self.temporal_form not in ("nce", "hinge") or not self.tau > 0 or min(weights.values(), default=0.0) < 0:
            raise UsageError("objective: temporal_form must be nce or hinge, tau above 0, and all weights 0 or more")
        if self.energy not in get_args(Energy) or (self.energy, self.temporal_form) == ("distance", "hinge"):
            raise UsageError("objective.energy must be cosine or distance, and cosine for temporal_form hinge")
        if self.score not in get_args(ModularScore):
            raise UsageError(
                f"objective.score {self.score!r} is unknown; choose from {', '.join(get_args(ModularScore))}"
            )
        self.weights = dict.fromkeys(TERMS, 0.0) | WEIGHTS[self.preset] | weights
        trained = self._trained()
        self.scoring_form = self.score if trained == "pairs" and self.score != "agg" else SCORING_FORMS[trained]
        if not self.weights[trained]:
            self.scoring_form = None  # the matching contrast alone
        self.scale = 1.0 / self.tau
        self._steps = 0

    def losses(self, vectors: PairVectors, positive: Tensor, net: nn.Module) -> tuple[Tensor, Tensors]:
        """Return the weighted sum; its parts are the terms with a weight, and every few steps the diagnostics."""
        valid = ~positive | torch.eye(len(positive), dtype=torch.bool, device=positive.device)
        parts: Tensors = {}
        for name in ("late", "subsets", "relevance", "pooled"):
            if self.weights[name]:
                parts[name] = score_nce(self._scores(name, vectors, net), vectors.scale, valid=valid)
        if any(self.weights[name] for name in MASK_TERMS):
            model = _with_dimensions(net)
            parts |= self._mask_losses(model, vectors, valid)
            self._steps += 1
            if self.diagnose_every and self._steps % self.diagnose_every == 1 % self.diagnose_every:
                parts |= self._diagnostics(model, vectors)
        terms = [self.weights[name] * part for name, part in parts.items() if self.weights.get(name)]
        return torch.stack(terms).sum(), parts

    def scores(self, vectors: PairVectors, net: nn.Module) -> Tensor:
        """Return scores by the form that is trained most directly: that of `scoring_form`."""
        return self._scores(self._trained(), vectors, net)

    def _trained(self) -> str:
        """Return the term whose scores are trained most directly."""
        return next((name for name in SCORING_FORMS if self.weights[name]), "pooled")

    def _scores(self, name: str, vectors: PairVectors, net: nn.Module) -> Tensor:
        frames, real = vectors.frames, vectors.frame_mask
        if name == "subsets":
            return cast(Mova, net).unit_similarity(frames, real, *vectors.with_units())
        if name == "late":
            return unit_scores(frames, real, *vectors.with_units())
        if name == "relevance":
            return relevance_pooled_scores(frames, real, vectors.texts)
        if name != "pooled":
            return _all_pairs(_with_dimensions(net), vectors, self._modular_score())
        return _mean_pooled(net, vectors)

    def _modular_score(self) -> ModularScore:
        """Return the score of `scoring_form`, or of pairs if it needs no masks."""
        return cast(ModularScore, self.scoring_form) if self.scoring_form in get_args(ModularScore) else self.score

    def _mask_losses(self, net: Mova, vectors: PairVectors, valid: Tensor) -> Tensors:
        """All mask terms that have a weight."""
        if net.temporal is None and (self.weights["temporal"] or self.score.startswith("tv")):
            raise UsageError("objective: L_tv and the scores tv need a temporal mask; model.masks concept has none")
        masks, real = _masks(net, vectors), vectors.frame_mask
        weights = frame_weights(masks.frames, real, masks.text) if net.config.frame_weights else None
        parts = self._contrasts(masks, real, weights, vectors.group)
        trained = self._trained_masks(net)
        if self.weights["sparsity"] and any(trained):
            both = zip((masks.p_t, masks.p_v), trained, strict=True)
            parts["sparsity"] = torch.stack([expected_l0(p, real) for p, chosen in both if chosen]).sum()
        if self.weights["pairs"]:
            parts["pairs"] = self._pairs(net, vectors, valid)
        return parts

    def _trained_masks(self, net: Mova) -> tuple[bool, bool]:
        """Return whether a loss trains the temporal mask, and whether one trains the concept mask.

        A mask that only the sparsity loss reaches would close.
        """
        weights = self.weights
        both = bool(weights["same_frame"] or weights["different_frame"] or weights["matching"])
        concept = both or bool(weights["pairs"] and not self.score.startswith("tv"))
        return net.temporal is not None and bool(both or weights["temporal"] or weights["pairs"]), concept

    def _contrasts(
        self, masks: ModularMasks, real: Tensor, weights: Tensor | None, groups: Tensor | None = None
    ) -> Tensors:
        """L_tv, L_sfdm, L_dfsm and the matching contrast; `groups` (V,) are the videos that the rows show."""
        parts: Tensors = {}
        inputs = (masks.frames, real, masks.text, masks.m_t)
        shared: dict[str, Any] = {"weights": weights, "groups": groups}
        temporal: dict[str, Any] = {"margin": self.margin, "same_video": self.temporal_same_video, **shared}
        if self.weights["temporal"] and self.temporal_form == "nce":
            parts["temporal"] = temporal_nce(*inputs, self.scale, energy=self.energy, **temporal)
        elif self.weights["temporal"]:
            parts["temporal"] = temporal_hinge(*inputs, **temporal)
        shared["energy"] = self.energy
        if self.weights["same_frame"] or self.weights["different_frame"]:
            same_video = self.different_frame_same_video
            same, different = concept_nce(*inputs, masks.m_v, self.scale, same_video=same_video, **shared)
            parts |= {"same_frame": same, "different_frame": different}
        if self.weights["matching"]:
            parts["matching"] = matching_nce(*inputs[:3], masks.m_v, self.scale, **shared)
        return parts

    def _pairs(self, net: Mova, vectors: PairVectors, valid: Tensor) -> Tensor:
        """Compare every video and text with mismatched ones, with masks computed for each pair."""
        count = net.config.pair_negatives
        if count < 1:
            raise UsageError("objective.pairs: the model has pair_negatives 0; set model.pair_negatives")
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        scores = _mean_pooled(net, vectors)
        texts, videos = sample_hard_pairs(scores, count, generator, valid=valid)
        rows = torch.arange(len(scores), device=scores.device)
        matched = _pair_scores(net, vectors, rows, rows, self.score)
        repeated = rows.repeat_interleave(count)
        wrong_text = _pair_scores(net, vectors, repeated, texts.flatten(), self.score).view(-1, count)
        wrong_video = _pair_scores(net, vectors, videos.flatten(), repeated, self.score).view(-1, count)
        return 0.5 * (pair_nce(matched, wrong_text, self.scale) + pair_nce(matched, wrong_video, self.scale))

    @torch.no_grad()
    def _diagnostics(self, net: Mova, vectors: PairVectors) -> Tensors:
        """Measure whether the masks depend on the match; see `losses/diagnostics.py`."""
        count, real = len(vectors.frame_mask), vectors.frame_mask
        if count < 2:
            return {}
        order = torch.arange(count, device=real.device)
        rolled = order.roll(-1)

        def loss_of(name: str) -> Callable[[Tensor], Tensor]:
            return lambda texts: self._contrasts(_masks(net, vectors, order, texts), real, None)[name]

        figures: dict[str, float] = {}
        masks = _masks(net, vectors)
        for name in self._contrasts(masks, real, None):
            figures |= prefixed(f"rolled/{name}", rolled_caption_gap(loss_of(name), count, real.device))
        overall = _mean_pooled(net, vectors)
        matched, mismatched = (_pair_scores(net, vectors, order, texts, self.score) for texts in (order, rolled))
        figures |= prefixed("match", matching(matched, mismatched, overall.diagonal(), overall[order, rolled]))
        for name, mask in (("m_t", masks.m_t), ("m_v", masks.m_v)):
            figures |= prefixed(name, mask_use(mask, real))
        return {name: torch.tensor(value) for name, value in figures.items()}


def _mean_pooled(net: nn.Module, vectors: PairVectors) -> Tensor:
    """Scores (V, N) of mean pooling, after the temporal transformer if the model has one."""
    frames, real = vectors.frames, vectors.frame_mask
    if isinstance(net, Mova):
        frames, real = net.in_sequence(frames, real)
    return mean_pooled_scores(frames, real, vectors.texts)


def _masks(net: Mova, vectors: PairVectors, videos: Tensor | None = None, texts: Tensor | None = None) -> ModularMasks:
    """Compute masks of pairs: video i with text i, or the given videos with the given texts."""
    rows: Any = slice(None) if videos is None else videos
    columns: Any = slice(None) if texts is None else texts
    tokens, token_mask = vectors.with_tokens()
    return net.masks(
        vectors.frames[rows],
        vectors.frame_mask[rows],
        tokens[columns],
        token_mask[columns],
        vectors.texts[columns],
    )


def _pair_scores(net: Mova, vectors: PairVectors, videos: Tensor, texts: Tensor, score: ModularScore) -> Tensor:
    """Modular scores (P,) of pairs, with masks computed for each of them."""
    masks = _masks(net, vectors, videos, texts)
    return modular_score(masks.frames, masks.text, masks.m_t, masks.m_v, vectors.frame_mask[videos], score)


def _all_pairs(net: Mova, vectors: PairVectors, score: ModularScore) -> Tensor:
    """Modular scores (V, N) of all pairs, text by text."""
    videos = torch.arange(len(vectors.frames), device=vectors.frames.device)
    columns = [_pair_scores(net, vectors, videos, torch.full_like(videos, n), score) for n in range(len(vectors.texts))]
    return torch.stack(columns, dim=1)


def _with_dimensions(net: nn.Module) -> Mova:
    if not isinstance(net, Mova) or net.config.masks not in ("dimensions", "concept"):
        raise UsageError(
            "objective: mask losses need a MoVA model with masks over dimensions (model.preset paper or repaired)"
        )
    return net
