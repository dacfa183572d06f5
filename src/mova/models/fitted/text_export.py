"""The text tower of a fitted model, for export: that of its backbone."""

from __future__ import annotations

from mova.models.families import export_text as export_family_text
from mova.models.fitted.model import Fitted
from mova.models.text_export import TextExport


def export_text(model: Fitted) -> TextExport | None:
    """Return the text side of the backbone, if it can be exported."""
    return export_family_text(model.backbone)
