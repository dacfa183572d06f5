"""Base class for models that wrap a two-tower backbone: saving, precision and freezing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.utils import SAFE_WEIGHTS_NAME

from mova.errors import ModelError, UsageError
from mova.models.backbone import Backbone
from mova.models.checkpoint import load_complete, quiet_transformers, read_scoring_form, write_calibration
from mova.models.encoder import DualEncoder
from mova.models.families import FAMILIES, family_of, family_of_type
from mova.models.hub import read_json
from mova.models.inputs.reading import EncodedPart
from mova.models.precision import choose_device
from mova.scoring.windows.rule import WindowRule
from mova.types import Frames


class BackboneWrapper(PreTrainedModel, DualEncoder):
    """A model with a two-tower `backbone` inside, saved with the backbone's weights and tokenizer in one folder.

    A subclass creates its modules in `__init__` between `self.backbone = ...` and `self._complete(has_weights)`, and
    defines `_update_config` and `_write_card`.
    """

    base_model_prefix = ""
    main_input_name = "pixels"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    family: str
    """Display name of the model's family."""
    backbone: Any

    def _complete(self, has_weights: bool) -> None:
        """Finish a subclass's `__init__`: transformers' own steps, and the attributes of the backbone.

        Args:
            has_weights: whether the backbone already has its weights.
        """
        if has_weights:
            with no_init_weights():
                self.post_init()
        else:
            self.post_init()
        self.name = self.backbone.name
        self.frame_rate = self.backbone.frame_rate
        self.context = self.backbone.context
        self.window = self.backbone.window
        self.fixed_frame_rate = self.backbone.fixed_frame_rate
        self.background = self.backbone.background
        self.unlikely = self.backbone.unlikely
        self.alignment = self.backbone.alignment
        read_scoring_form(self)
        self._frozen: list[nn.Module] = []
        if self.backbone.keeps_files:
            self._keys_to_ignore_on_save = [f"backbone.{name}" for name in self.backbone.state_dict()]

    def encode_parts(
        self,
        chunks: Iterable[Frames],
        rate: float,
        encode: Callable[[Frames], Tensor] | None = None,
        window: WindowRule | None = None,
    ) -> Iterator[EncodedPart]:
        """Encode a video part by part; windows as the backbone does."""
        if self.window.is_picture:
            return super().encode_parts(chunks, rate, encode)
        parts: Iterator[EncodedPart] = self.backbone.encode_parts(chunks, rate, encode, window or self.window)
        return parts

    def get_input_embeddings(self) -> Any:
        """Return None: a tower embeds its texts itself. Sharding (FSDP) asks."""
        return None

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing: all parts initialize themselves."""

    def _update_config(self) -> None:
        """Write attributes that may have changed since the model was created to its configuration."""
        raise NotImplementedError

    def _write_card(self, folder: Path) -> None:
        """Write the model card."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *args: Any,
        precision: str = "fp32",
        device: str | torch.device | None = "cpu",
        **kwargs: Any,
    ) -> Self:
        """Load a folder that `save_pretrained` wrote; it needs nothing else.

        Raises:
            ModelError: the folder holds another family, is incomplete or damaged.
        """
        folder = Path(pretrained_model_name_or_path).expanduser().resolve()
        settings = read_json(folder / "config.json")
        model_type = settings.get("model_type")
        if model_type != cls.config_class.model_type:
            raise ModelError(f"{folder}: contains a {model_type}, not a {cls.family}; load it with mova.load")
        kwargs.setdefault("dtype", torch.float32)
        inner = settings.get("backbone") or {}
        family = family_of_type(inner.get("model_type"))
        load: Callable[..., Any] = partial(super().from_pretrained, folder, *args, **kwargs)
        if family is not None and family.load_kept is not None:
            load = partial(cls._load_around, folder, resolve_name(family.load_kept)(folder, inner))
        model = load_complete(load, str(folder))
        model.backbone.load_tokenizer_from(folder)
        model.name = model.backbone.name = str(folder)
        return model.prepare(precision, device)

    @classmethod
    def _load_around(cls, folder: Path, backbone: Any, output_loading_info: bool) -> tuple[Self, dict[str, list[str]]]:
        """Load all that is around a backbone whose files the folder keeps; see `load_complete`."""
        model = cls(cls.config_class.from_pretrained(folder), backbone)
        report = model.load_state_dict(load_file(folder / SAFE_WEIGHTS_NAME), strict=False)
        return model, {"missing_keys": [name for name in report.missing_keys if not name.startswith("backbone.")]}

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save weights (safetensors), configuration (including the backbone's), tokenizer and model card."""
        self.backbone.warn_of_rounding()
        self.config.backbone = backbone_settings(self.backbone)
        self._update_config()
        with quiet_transformers():
            super().save_pretrained(save_directory, *args, **kwargs)
        self.backbone.save_tokenizer_to(save_directory)
        self._write_card(Path(save_directory))

    def prepare(self, precision: str, device: str | torch.device | None) -> Self:
        """Move to a device, and the backbone to a precision (all else stays float32), ready to encode."""
        target = choose_device(device)
        self.backbone.prepare(precision, target)
        return self.to(target).eval()

    def _freeze(self, modules: list[nn.Module], frozen: bool) -> Self:
        """Freeze weights and running statistics of modules during training, or let them train again."""
        for module in modules:
            module.requires_grad_(not frozen)
        self._frozen = [kept for kept in self._frozen if kept not in modules] + (modules if frozen else [])
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def count_parameters(self) -> tuple[int, int]:
        """Return the numbers of parameters: in all, and of the backbone."""
        return sum(p.numel() for p in self.parameters()), sum(p.numel() for p in self.backbone.parameters())


def backbone_settings(backbone: Any) -> dict[str, Any]:
    """Return the current configuration of a backbone."""
    write_calibration(backbone)
    if not backbone.window.is_picture:
        backbone.config.window_stride = backbone.window.stride
    return backbone.config.to_dict()


def random_backbone(settings: dict[str, Any], what: str) -> Any:
    """Return a backbone with random weights from its configuration.

    Args:
        settings: the configuration, including `model_type`.
        what: what wraps it, for the message ("masks go").

    Raises:
        UsageError: its family is not one of backbones.
    """
    family = family_of_type(settings.get("model_type"))
    if family is None or not family.is_backbone:
        raise UsageError(f"backbone of type {settings.get('model_type')!r}; {what} around {known_backbones()}")
    kind = family.model_class()
    return kind(kind.config_class.from_dict(settings))


def require_backbone(backbone: Any, what: str, *, windows: bool = True) -> None:
    """Raise if a model cannot be wrapped.

    Raises:
        UsageError: its family is not one of backbones, or it encodes windows where single frames are read.
    """
    if not windows and not backbone.window.is_picture:
        raise UsageError(
            f"{backbone.name}: encodes windows of {backbone.window.frames} frames; {what} around encoders of single "
            "frames, such as CLIP"
        )
    if not windows and isinstance(backbone, Backbone) and not hasattr(backbone, "dense_images"):
        raise UsageError(f"{backbone.name}: has no vectors of patches; {what} around two-tower models, such as CLIP")
    family = family_of(backbone)
    if family is None or not family.is_backbone:
        raise UsageError(f"{backbone.name}: is a {type(backbone).__name__}; {what} around {known_backbones()}")


def known_backbones() -> str:
    """Return the names of the classes that can be wrapped, for messages."""
    return ", ".join(family.model.rpartition(":")[2] for family in FAMILIES.values() if family.is_backbone)
