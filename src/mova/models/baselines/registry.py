"""The table of baselines."""

from __future__ import annotations

from mova.models.baselines.base import Baseline
from mova.models.baselines.mean_pool import MeanPool
from mova.models.baselines.one_way_mask import OneWayMask
from mova.models.baselines.relevance_pool import RelevancePool
from mova.models.baselines.temporal_transformer import TemporalTransformer
from mova.models.baselines.token_wise import TokenWise
from mova.models.baselines.x_pool import XPool

BASELINES: dict[str, type[Baseline]] = {
    "mean_pool": MeanPool,
    "temporal_transformer": TemporalTransformer,
    "one_way_mask": OneWayMask,
    "token_wise": TokenWise,
    "x_pool": XPool,
    "relevance_pool": RelevancePool,
}
"""Name of a baseline -> its class, made with the width alone."""
