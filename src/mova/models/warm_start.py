"""Open the model of an earlier run as the start of the next stage of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mova.errors import UsageError
from mova.models.backbone_wrapper import BackboneWrapper
from mova.models.encoder import DualEncoder
from mova.models.families import family_of_folder
from mova.models.known import MODELS
from mova.models.registry import load


def is_saved(source: str) -> bool:
    """Return whether a source is a folder that mova saved, or the name of a model that comes with mova."""
    folder = Path(source).expanduser()
    if (folder / "config.json").is_file():
        return family_of_folder(folder) is not None
    return source in MODELS and MODELS[source].in_package


def open_saved(source: str, text_length: int | None) -> tuple[DualEncoder, Any]:
    """Load a saved model in float32 on the CPU, and return it with its backbone (itself if it wraps none).

    Args:
        source: a source that `is_saved` accepts.
        text_length: None, or that of the saved model: texts are extended when training begins, not between stages.

    Raises:
        UsageError: another text length.
        ModelError: the folder is incomplete or damaged.
    """
    start = load(source, precision="fp32", device="cpu")
    backbone: Any = start.backbone if isinstance(start, BackboneWrapper) else start
    backbone.freeze_bias()
    trained_length = backbone.text_length
    if text_length not in (None, trained_length):
        limit = "has no text length to set"
        if trained_length is not None:
            limit = f"was trained on texts of up to {trained_length} tokens"
        raise UsageError(f"{source}: {limit}, so model.text_length cannot be {text_length}; set it in the first stage")
    return start, backbone
