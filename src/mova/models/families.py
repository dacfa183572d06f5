"""The table of model families. A new family is a folder with a `family.py`, and one line here."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from mova.errors import UsageError
from mova.models.family import ModelFamily
from mova.models.fitted.family import FITTED
from mova.models.gexia.family import GEXIA
from mova.models.hub import has_own_modules, model_type_of
from mova.models.mova.family import MOVA
from mova.models.natural.family import NATURAL
from mova.models.qwen_embedding.family import QWEN_EMBEDDING
from mova.models.sentence_transformer.family import SENTENCE_TRANSFORMER
from mova.models.two_tower.family import TWO_TOWER
from mova.models.video_llm.family import VIDEO_LLM
from mova.models.video_prism.family import VIDEO_PRISM
from mova.models.worlds_tiny.family import WORLDS_TINY
from mova.models.x_clip.family import X_CLIP

if TYPE_CHECKING:
    from mova.data.batch import InputAdapter
    from mova.models.text_export import TextExport

FAMILIES: dict[str, ModelFamily] = {
    family.name: family
    for family in (
        TWO_TOWER,
        WORLDS_TINY,
        NATURAL,
        FITTED,
        MOVA,
        GEXIA,
        QWEN_EMBEDDING,
        SENTENCE_TRANSFORMER,
        VIDEO_LLM,
        X_CLIP,
        VIDEO_PRISM,
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
    return family_of_type(model_type_of(folder))


def foreign_family(folder: Path) -> ModelFamily:
    """Return the family that loads a folder of a dual encoder that mova did not save.

    Raises:
        ModelError: its `config.json` is missing or damaged.
    """
    kind = model_type_of(folder)
    named = [family for family in FAMILIES.values() if family.foreign_type is not None and family.foreign_type == kind]
    if named:
        return named[0]
    filed = (family for family in FAMILIES.values() if family.foreign_file and (folder / family.foreign_file).is_file())
    return next((family for family in filed if has_own_modules(folder)), TWO_TOWER)


def family_of(model: Any) -> ModelFamily | None:
    """Return the family of a model by the type of its configuration, or None."""
    return family_of_type(getattr(getattr(model, "config", None), "model_type", None))


def input_adapter(model: Any, stored: bool = False) -> InputAdapter:
    """Return the input adapter of a model, or of the backbone inside it.

    Args:
        model: a model, or a module with a `backbone`.
        stored: whether frame vectors are read instead of pixels.

    Raises:
        UsageError: the model cannot be trained on pairs.
    """
    family = family_of(model)
    if family is not None and family.input_adapter is not None:
        return resolve_name(family.input_adapter)(model, stored)
    backbone = getattr(model, "backbone", None)
    if backbone is not None:
        return input_adapter(backbone, stored)
    raise UsageError(f"{type(model).__name__} cannot be trained on pairs of video and text")


def export_text(model: Any) -> TextExport | None:
    """Return the text side of a model for export; None if its family cannot separate it."""
    family = family_of(model)
    if family is None or family.export_text is None:
        return None
    return resolve_name(family.export_text)(model)


def export_images(model: Any, folder: str | Path, **options: Any) -> None:
    """Save a model in single precision with its image tower exported; see the function of its family.

    Raises:
        UsageError: its family has none.
    """
    family = family_of(model)
    if family is None or family.export_images is None:
        able = ", ".join(known.title for known in FAMILIES.values() if known.export_images is not None)
        raise UsageError(f"{model.name}: its image tower cannot be exported; that of a {able} can")
    resolve_name(family.export_images)(model, folder, **options)
