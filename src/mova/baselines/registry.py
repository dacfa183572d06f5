"""The table of baselines."""

from __future__ import annotations

from mova.baselines.base import Baseline
from mova.baselines.mean_pool import MeanPool
from mova.baselines.one_way_mask import OneWayMask
from mova.baselines.relevance_pool import RelevancePool
from mova.baselines.temporal_transformer import TemporalTransformer
from mova.baselines.token_wise import TokenWise
from mova.baselines.x_pool import XPool

BASELINES: dict[str, type[Baseline]] = {
    "mean_pool": MeanPool,
    "temporal_transformer": TemporalTransformer,
    "one_way_mask": OneWayMask,
    "token_wise": TokenWise,
    "x_pool": XPool,
    "relevance_pool": RelevancePool,
}
"""Name of a baseline -> its class, made with the width alone."""
