"""The text tower of an X-CLIP model, for export."""

from __future__ import annotations

from mova.models.text_export import TextExport
from mova.models.two_tower.text_export import export_text as export_two_tower
from mova.models.x_clip.model import XClip


def export_text(model: XClip) -> TextExport | None:
    """Return the text side of a model, which is built like CLIP's."""
    return export_two_tower(model)
