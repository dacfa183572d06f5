"""The table of model families. A new family is a folder with a `family.py`, and one line here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mova.models.family import ModelFamily
from mova.models.gexia.family import GEXIA
from mova.models.hub import read_json
from mova.models.mova.family import MOVA
from mova.models.two_tower.family import TWO_TOWER
from mova.models.video_llm.family import VIDEO_LLM
from mova.models.worlds_tiny.family import WORLDS_TINY

FAMILIES: dict[str, ModelFamily] = {
    family.name: family
    for family in (
        TWO_TOWER,
        WORLDS_TINY,
        MOVA,
        GEXIA,
        VIDEO_LLM,
    )
}
"""Name of a family -> its record."""


def family_of_type(model_type: object) -> ModelFamily | None:
    """Return the family whose saved folders have this `model_type`, or None."""
    for family in FAMILIES.values():
        if family.model_type is not None and family.model_type == model_type:
            return family
    return None


def family_of_folder(folder: Path) -> ModelFamily | None:
    """Return the family of a folder that mova saved; None if mova did not save it.

    Raises:
        ModelError: its `config.json` is missing or damaged.
    """
    return family_of_type(read_json(folder / "config.json").get("model_type"))


def family_of(model: Any) -> ModelFamily | None:
    """Return the family of a model by the type of its configuration, or None."""
    return family_of_type(getattr(getattr(model, "config", None), "model_type", None))
