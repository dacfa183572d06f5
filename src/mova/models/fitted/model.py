"""A dual encoder whose frame vectors pass a linear map that was fitted to captioned videos.

`mova.features.fit` computes the map in closed form. Texts, tokens and sampling are those of the backbone.

Shape legend: T frames, d width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig

from mova.errors import UsageError
from mova.models.backbone import Backbone
from mova.models.backbone_wrapper import BackboneWrapper, backbone_settings
from mova.models.background_captions import background_sentences
from mova.models.checkpoint import read_calibration, write_calibration
from mova.models.embeddings import TextEmbedding, VideoFingerprint
from mova.models.families import family_of_type
from mova.models.precision import hash_weights
from mova.types import Frames


class FittedConfig(PreTrainedConfig):
    """The configuration of the backbone, and what the map was fitted to.

    Attributes:
        backbone: configuration of the encoder inside.
        report: figures of the fit.
        relevance_threshold, units, rule: see `DualEncoder`.
    """

    model_type = "mova-fitted"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        report: dict[str, Any] | None = None,
        relevance_threshold: float | None = None,
        units: dict[str, int] | None = None,
        rule: dict[str, float | None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone or {}
        self.report = report or {}
        self.relevance_threshold = relevance_threshold
        self.units = units
        self.rule = rule
        super().__init__(**kwargs)


class Fitted(BackboneWrapper):
    """A backbone, and a linear map of its unit frame vectors. Create with `around`; load with `from_pretrained`.

    >>> import mova
    >>> model = Fitted.around(mova.load("mova-worlds-tiny"))  # the identity
    >>> model = model.set_map(0.5 * torch.eye(model.embedding_dim), torch.zeros(model.embedding_dim))
    >>> model.place(torch.ones(1, model.embedding_dim)).norm().item()
    0.5
    """

    config_class = FittedConfig
    family = "fitted encoder"

    def __init__(self, config: FittedConfig, backbone: Any = None) -> None:
        super().__init__(config)
        has_weights = backbone is not None
        if backbone is None:
            family = family_of_type(config.backbone.get("model_type"))
            if family is None:
                raise UsageError(f"backbone of type {config.backbone.get('model_type')!r} is unknown")
            kind = family.model_class()
            backbone = kind(kind.config_class.from_dict(config.backbone))
        self.backbone: Any = backbone
        self.map = nn.Linear(backbone.embedding_dim, backbone.embedding_dim)
        self._complete(has_weights)
        self.background = self.backbone.background or background_sentences()
        self.unlikely = self.backbone.unlikely
        self.scoring_form = self.backbone.scoring_form
        read_calibration(self)
        self._hashes: tuple[int, str] | None = None

    @classmethod
    def around(cls, backbone: Any) -> Self:
        """Return the backbone with the identity as its map.

        Raises:
            UsageError: an encoder that cannot be saved inside another model.
        """
        if not isinstance(backbone, Backbone):
            raise UsageError(f"{backbone.name}: a map cannot be fitted around a {type(backbone).__name__}")
        model = cls(FittedConfig(backbone=backbone_settings(backbone), units=backbone.units.to_dict()), backbone)
        return model.set_map(torch.eye(backbone.embedding_dim), torch.zeros(backbone.embedding_dim))

    @torch.no_grad()
    def set_map(self, weight: Tensor, bias: Tensor) -> Self:
        """Set the map: a unit frame vector x becomes `weight @ x + bias`.

        Args:
            weight: (d, d).
            bias: (d,).
        """
        self.map.weight.copy_(weight)
        self.map.bias.copy_(bias)
        return self.eval()

    @property
    def embedding_dim(self) -> int:
        """Width d of the shared space."""
        return self.backbone.embedding_dim

    def place(self, frames: Tensor) -> Tensor:
        """Map frame vectors of the backbone: (T, d) -> (T, d)."""
        return self.map(F.normalize(frames, dim=-1))

    @torch.no_grad()
    def encode_frames(self, frames: Frames) -> Tensor:
        """Encode frames with the backbone, and map them: (T, d), float32."""
        return self.place(self.backbone.encode_frames(frames))

    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode texts with the backbone."""
        return self.backbone.encode_text(texts)

    def fingerprint(self) -> str:
        """Return a hash of the backbone's fingerprint and the map."""
        return hashlib.sha256(f"{self.backbone.fingerprint()} {self._map_hash()}".encode()).hexdigest()

    def video_fingerprint(self) -> VideoFingerprint:
        """Return the backbone's hashes, with the map."""
        inner = self.backbone.video_fingerprint()
        return VideoFingerprint(f"{inner.weights} {self._map_hash()}", inner.preprocessing)

    def _map_hash(self) -> str:
        version = sum(weight._version for weight in self.map.parameters())
        if self._hashes is None or self._hashes[0] != version:
            self._hashes = (version, hash_weights(self.map.state_dict()))
        return self._hashes[1]

    def _update_config(self) -> None:
        write_calibration(self)

    def _write_card(self, folder: Path) -> None:
        rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in self.config.report.items())
        about = "An encoder with a linear map of its frame vectors, fitted by `mova fit`."
        text = f"# {folder.name}\n\n{about}\n\n| | |\n|---|---|\n{rows}\n"
        (folder / "README.md").write_text(text, encoding="utf-8")
