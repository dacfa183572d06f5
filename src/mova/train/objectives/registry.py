"""Objectives by name: `objective.kind` of a recipe. Each sums pure losses and names its parts.

To add one: a dataclass of its settings with `forward(batch, model)` as `train/objectives/base.py` says (for pairs, a
`PairObjective`), and a line in `OBJECTIVES`.
"""

from __future__ import annotations

from typing import Any

from mova.errors import UsageError
from mova.train.objectives.base import Objective
from mova.train.objectives.gexia import Classification, Vtc
from mova.train.objectives.mova import MovaObjective
from mova.train.objectives.pairs import Clip4Clip, LateInteraction
from mova.train.objectives.smartclip import SmartClip
from mova.train.objectives.synvita import Synvita
from mova.train.objectives.worlds import Grounding

OBJECTIVES: dict[str, type[Objective[Any, Any]]] = {
    "grounding": Grounding,
    "clip4clip": Clip4Clip,
    "late_interaction": LateInteraction,
    "smartclip": SmartClip,
    "mova": MovaObjective,
    "vtc": Vtc,
    "classification": Classification,
    "synvita": Synvita,
}


def find_objective(kind: object) -> type[Objective[Any, Any]]:
    """Return an objective's class by name.

    Raises:
        UsageError: unknown name.
    """
    if kind not in OBJECTIVES:
        raise UsageError(f"objective.kind {kind!r} is unknown; choose from {', '.join(OBJECTIVES)}")
    return OBJECTIVES[str(kind)]
