"""A checkpoint's processor (tokenizer, chat template, placeholders of frames) of transformers, without torchvision.

The processor's own code expands placeholders and writes timestamps, so that a family's prompt is what it was trained
with; only resizing is ours (`models/video_llm/frames.py`). Images go through transformers' Pillow processors.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoImageProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.processing_utils import ProcessorMixin

from mova.errors import ModelError
from mova.models.hub import read_json
from mova.models.video_llm.frames import DEFAULTS, KINDS, FrameProcessor


def load_processor(folder: Path, kind: str) -> Any:
    """The processor of a checkpoint's folder.

    Args:
        folder: in the hub's layout.
        kind: the configuration's `model_type`.

    Returns:
        A processor of transformers. Its `video_processor` is a `FrameProcessor`, or absent where the family has none
        that is reproduced here; frames are then shown as images.

    Raises:
        ModelError: transformers knows no processor of this kind, or the folder lacks files of it.
    """
    base = _processor_class(folder, kind)
    settings, _ = base.get_processor_dict(folder)
    try:
        parts = {name: _part(name, folder, kind, settings) for name in base.get_attributes()}
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"{folder}: its tokenizer or image settings cannot be read ({error})") from error
    lacking = [name for name, part in parts.items() if part is None and name != "video_processor"]
    if lacking:
        raise ModelError(f"{folder}: {base.__name__} also wants {', '.join(lacking)}, which is no part of a scorer")
    accepted = inspect.signature(base.__init__).parameters
    options = {key: value for key, value in settings.items() if key in accepted and key not in parts}
    trusting = type(base.__name__, (_TrustingParts, base), {})
    return trusting(**parts, **options)


class _TrustingParts:
    """A processor that takes the parts it is given: the library's check knows only torchvision's video processors."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> type:
        """The part's own class."""
        return type(argument)

    def __repr__(self) -> str:
        """Its name: the library prints settings that ours does not keep."""
        return f"{type(self).__name__}(without torchvision)"


def _processor_class(folder: Path, kind: str) -> Any:
    """transformers' processor of a checkpoint: the one that its files name, else the kind's."""
    names = [
        read_json(folder / file).get("processor_class")
        for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
        if (folder / file).is_file()
    ]
    for name in (*names, PROCESSOR_MAPPING_NAMES.get(kind)):
        found = getattr(transformers, name, None) if name else None
        if isinstance(found, type) and issubclass(found, ProcessorMixin):
            return found
    raise ModelError(f"{folder}: transformers {transformers.__version__} has no processor for models of kind {kind!r}")


def _part(name: str, folder: Path, kind: str, settings: dict[str, Any]) -> Any:
    """One part of a processor, or None where this package makes none."""
    if name == "tokenizer":
        return AutoTokenizer.from_pretrained(folder)
    if name == "image_processor":
        return AutoImageProcessor.from_pretrained(folder, backend="pil")
    return _frame_processor(folder, kind, settings) if name == "video_processor" else None


def _frame_processor(folder: Path, kind: str, settings: dict[str, Any]) -> FrameProcessor | None:
    """Ours, with the settings that transformers would give to its own."""
    own = settings.get("video_processor")
    file = folder / "video_preprocessor_config.json"
    if own is None:
        own = read_json(file) if file.is_file() else {}
    name = str(own.get("video_processor_type") or KINDS.get(kind))
    if name not in DEFAULTS:
        return None
    if not own and (shared := folder / "preprocessor_config.json").is_file():
        own = read_json(shared)  # checkpoints of before videos had settings of their own
        if DEFAULTS[name][1] is not None:
            own = {key: value for key, value in own.items() if key not in {"min_pixels", "max_pixels", "size"}}
    return FrameProcessor(name, own)
