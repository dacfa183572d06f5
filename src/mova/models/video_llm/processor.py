"""Load a checkpoint's processor (tokenizer, chat template, placeholders of frames), without torchvision.

The processor's own code expands placeholders and writes timestamps, so that a prompt is as in training; only resizing
is ours (`models/video_llm/frames.py`). Images go through the Pillow processors of transformers.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoImageProcessor, AutoTokenizer
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.processing_utils import ProcessorMixin

from mova.errors import ModelError, refuse_code
from mova.models.hub import read_json
from mova.models.video_llm.frames import DEFAULTS, KINDS, FrameProcessor


def load_processor(folder: Path, kind: str) -> Any:
    """Load the processor of a checkpoint's folder.

    Args:
        folder: a folder in the Hub's layout.
        kind: the configuration's `model_type`.

    Returns:
        A processor of transformers. Its `video_processor` is a `FrameProcessor`, or missing if the architecture has
        none that is supported here; frames are then passed as images.

    Raises:
        ModelError: transformers has no processor of this kind, or the folder lacks some of its files.
    """
    base = _processor_class(folder, kind)
    settings, _ = base.get_processor_dict(folder)
    try:
        with refuse_code(folder):
            parts = {name: _part(name, folder, kind, settings) for name in base.get_attributes()}
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"{folder}: its tokenizer or image settings cannot be read ({error})") from error
    missing = [name for name, part in parts.items() if part is None and name != "video_processor"]
    if missing:
        raise ModelError(f"{folder}: {base.__name__} also needs {', '.join(missing)}, which are not supported here")
    accepted = inspect.signature(base.__init__).parameters
    options = {key: value for key, value in settings.items() if key in accepted and key not in parts}
    trusting = type(base.__name__, (_TrustingParts, base), {})
    return trusting(**parts, **options)


class _TrustingParts:
    """A processor that accepts any parts; the library's check accepts only video processors of torchvision."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> type:
        """Return the part's own class."""
        return type(argument)

    def __repr__(self) -> str:
        """Return its name; the library would print settings that ours does not have."""
        return f"{type(self).__name__}(without torchvision)"


def _processor_class(folder: Path, kind: str) -> Any:
    """Return the processor class of a checkpoint: the one that its files name, else that of its kind."""
    names = [
        read_json(folder / file).get("processor_class")
        for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
        if (folder / file).is_file()
    ]
    for name in (*names, PROCESSOR_MAPPING_NAMES.get(kind)):
        processor = getattr(transformers, name, None) if name else None
        if isinstance(processor, type) and issubclass(processor, ProcessorMixin):
            return processor
    raise ModelError(f"{folder}: transformers {transformers.__version__} has no processor for models of kind {kind!r}")


def _part(name: str, folder: Path, kind: str, settings: dict[str, Any]) -> Any:
    """Load one part of a processor; None if it is not supported here."""
    if name == "tokenizer":
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if name == "image_processor":
        return AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
    if name == "qformer_tokenizer":  # InstructBLIP's second one
        return AutoTokenizer.from_pretrained(folder, subfolder=name, trust_remote_code=False)
    return _frame_processor(folder, kind, settings) if name == "video_processor" else None


def _frame_processor(folder: Path, kind: str, settings: dict[str, Any]) -> FrameProcessor | None:
    """Return our video processor, with the settings that transformers would pass to its own."""
    values = settings.get("video_processor")
    file = folder / "video_preprocessor_config.json"
    if values is None:
        values = read_json(file) if file.is_file() else {}
    name = str(values.get("video_processor_type") or KINDS.get(kind))
    if name not in DEFAULTS:
        return None
    if not values and (shared := folder / "preprocessor_config.json").is_file():
        values = read_json(shared)  # older checkpoints have no separate settings for videos
        if DEFAULTS[name][1] is not None:
            values = {key: value for key, value in values.items() if key not in {"min_pixels", "max_pixels", "size"}}
    return FrameProcessor(name, values)
