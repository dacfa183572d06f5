"""What every dual encoder of transformers shares: reading a checkpoint, saving, precision, texts, fingerprints.

Shape legend: N texts, L tokens, d shared width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.initialization import no_init_weights

from mova.errors import ModelError
from mova.models.backbone import Backbone
from mova.models.background_captions import background_sentences
from mova.models.checkpoint import (
    dual_encoder_settings,
    image_settings,
    load_complete,
    load_tokenizer,
    load_weights,
    quiet_transformers,
    read_calibration,
    set_text_length,
    write_calibration,
)
from mova.models.embeddings import TextEmbedding, VideoFingerprint
from mova.models.hub import find_checkpoint, read_json
from mova.models.inputs.texts import as_texts
from mova.models.model_card import write_card
from mova.models.precision import choose_device, choose_dtype, hash_tensors
from mova.models.two_tower.config import TwoTowerConfig
from mova.models.two_tower.fingerprint import NOT_VIDEO, PROBE, hash_towers
from mova.models.two_tower.image_processor import ImageRule
from mova.models.two_tower.text_processor import TextRule, report_dropped

logger = logging.getLogger(__name__)

TEXT_BATCH = 256
UNMASKED = frozenset({"aimv2"})
"""Architectures whose texts see later words in transformers if no text of a batch is padded, except with its attention
in plain PyTorch: their mask is then left to a kernel that does not know that it is causal."""


class CheckpointEncoder(PreTrainedModel, Backbone):
    """A dual encoder of transformers, without its video side.

    Attributes:
        video_features: the method of transformers that encodes pictures, or windows of frames.
        image_settings: reads the settings of frames from a checkpoint's folder.
    """

    config_class: type[TwoTowerConfig] = TwoTowerConfig
    video_features = "get_image_features"
    image_settings = staticmethod(image_settings)
    base_model_prefix = ""
    main_input_name = "pixels"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: TwoTowerConfig, backbone: PreTrainedModel | None = None, tokenizer: Any = None) -> None:
        super().__init__(config)
        if backbone is None:
            self.backbone = AutoModel.from_config(AutoConfig.for_model(**config.backbone), trust_remote_code=False)
            self.post_init()
        else:
            self.backbone = backbone
            with no_init_weights():
                self.post_init()
        if self.backbone.config.model_type in UNMASKED:
            self.backbone.text_model.set_attn_implementation("eager")
        self.tokenizer = tokenizer
        self.image_rule = ImageRule.from_dict(config.image)
        self.text_rule = TextRule(**config.text)
        self.name = config.source
        self.frame_rate = config.frame_rate
        read_calibration(self)
        self.background = background_sentences()
        self._hashes: tuple[int, tuple[str, VideoFingerprint]] | None = None

    def get_input_embeddings(self) -> Any:
        """Return None: a tower embeds its texts itself. Sharding (FSDP) asks."""
        return None

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing: the backbone initializes itself, and there are no other weights."""

    @classmethod
    def from_checkpoint(
        cls,
        name_or_path: str | Path,
        *,
        precision: str = "auto",
        device: str | torch.device | None = None,
        text_length: int | None = None,
    ) -> Self:
        """Read a checkpoint in the Hub's layout.

        Args:
            name_or_path: name on the Hub or local folder.
            precision: "fp32", "bf16", or "auto": bf16 where the hardware multiplies it natively, else fp32. Train in
                "fp32" (with autocast); bf16 here means bf16 weights.
            device: where the model runs; default: a GPU if there is one.
            text_length: maximum number of tokens per text, special tokens included. More than the checkpoint's own
                (248 for CLIP's 77) stretches its position table (`stretch_positions`). Without training on long
                captions this only keeps tokens that would be cut off.

        Raises:
            ModelError: it cannot be found, is damaged, or is not a dual encoder.
            UsageError: an unknown precision, or a length that the architecture cannot have.
        """
        folder = find_checkpoint(name_or_path)
        name = str(folder.resolve() if Path(name_or_path).expanduser().is_dir() else name_or_path)
        settings = dual_encoder_settings(folder, name, cls.video_features)
        rule = ImageRule.from_settings(cls.image_settings(folder, name), name)
        tokenizer = load_tokenizer(folder, name, settings)
        backbone = load_weights(folder, name)
        positions = backbone.config.text_config.max_position_embeddings
        limit = min(positions, getattr(tokenizer, "model_max_length", positions))
        text = TextRule.for_family(settings.model_type, limit)
        if text_length is not None:
            text = set_text_length(backbone, text, text_length, name)
        config = cls.config_class(
            backbone=backbone.config.to_dict(), image=rule.to_dict(), text=text.to_dict(), source=name
        )
        return cls(config, backbone, tokenizer).prepare(precision, device)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *args: Any,
        precision: str = "fp32",
        device: str | torch.device | None = "cpu",
        **kwargs: Any,
    ) -> Self:
        """Load a folder that `save_pretrained` wrote; weights are bit-equal unless `precision` casts them.

        Raises:
            ModelError: the folder is incomplete or damaged.
        """
        folder = Path(pretrained_model_name_or_path).expanduser().resolve()
        config = read_json(folder / "config.json").get("backbone", {})
        if not config:
            raise ModelError(
                f"{folder}: was not saved by mova; use {cls.__name__}.from_checkpoint for other checkpoints"
            )
        model = load_complete(partial(super().from_pretrained, folder, *args, **kwargs), str(folder))
        model.tokenizer = load_tokenizer(folder, str(folder), AutoConfig.for_model(**config))
        model.name = str(folder)
        return model.prepare(precision, device)

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save weights (safetensors), configuration, tokenizer and model card into one folder."""
        self.warn_of_rounding()
        write_calibration(self)
        with quiet_transformers():
            super().save_pretrained(save_directory, *args, **kwargs)
        self.tokenizer.save_pretrained(save_directory)
        write_card(Path(save_directory), self.config, sum(p.numel() for p in self.parameters()), self.embedding_dim)

    def load_tokenizer_from(self, folder: Path) -> None:
        """Load the tokenizer from a wrapper's folder."""
        self.tokenizer = load_tokenizer(folder, str(folder), AutoConfig.for_model(**self.config.backbone))

    def save_tokenizer_to(self, folder: str | Path) -> None:
        """Save the tokenizer to a wrapper's folder."""
        self.tokenizer.save_pretrained(folder)

    @property
    def text_length(self) -> int | None:
        """Maximum number of tokens per text."""
        return self.text_rule.length

    def freeze_bias(self) -> None:
        """Freeze `logit_bias` (SigLIP): it shifts all logits alike, so InfoNCE leaves it without a gradient."""
        bias = getattr(self.backbone, "logit_bias", None)
        if bias is not None:
            bias.requires_grad_(False)

    def warn_of_rounding(self) -> None:
        """Log a warning if the weights that are about to be saved do not have full precision."""
        if self.compute_dtype != torch.float32:
            logger.warning("%s has %s weights and is saved with them", self.name, self.compute_dtype)

    def prepare(self, precision: str, device: str | torch.device | None) -> Self:
        """Move to a device and a precision, ready to encode. The fingerprint stays that of full precision."""
        target = choose_device(device)
        dtype = choose_dtype(precision, target)
        if dtype != self.compute_dtype:
            hashes = self._hashed()
            exact = {name: p.data.float() for name, p in self.backbone.named_parameters(recurse=False)}
            self.backbone.to(dtype)
            for name, p in self.backbone.named_parameters(recurse=False):
                p.data = exact[name]
            self._hashes = (self.weights_version(), hashes)
        return self.to(target).eval()

    @property
    def embedding_dim(self) -> int:
        """Width d of the shared space."""
        head = self._token_head()
        return int(head.out_features)

    @property
    def compute_dtype(self) -> torch.dtype:
        """Type of the towers' weights (scale and bias are always float32)."""
        return self._token_head().weight.dtype

    @property
    def logit_scale(self) -> Tensor | None:
        """Factor on cosines (already exponentiated), float32; None if the checkpoint has none."""
        scale = getattr(self.backbone, "logit_scale", None)
        return None if scale is None else scale.float().exp()

    @property
    def logit_bias(self) -> Tensor | None:
        """Bias added after the factor (SigLIP), float32; None if the checkpoint has none."""
        bias = getattr(self.backbone, "logit_bias", None)
        return None if bias is None else bias.float()

    def text_features(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled vectors and projected token states; gradients flow.

        Single tokens are projected by the map that the architecture applies to its pooled token (CLIP's
        `text_projection`, SigLIP's `text_model.head`), so both are in the shared space. The checkpoint was not trained
        with this projection of single tokens.

        Args:
            input_ids: int64, (N, L).
            mask: bool, (N, L), true where a token is real.

        Returns:
            float32 (N, d) and (N, L, d).
        """
        attention = {} if self.text_rule.fixed else {"attention_mask": mask.long()}
        output = self.backbone.get_text_features(input_ids=input_ids, **attention)
        return output.pooler_output.float(), self._token_head()(output.last_hidden_state).float()

    def image_features(self, pixels: Tensor) -> Tensor:
        """Encode normalized pixels of pictures, or of windows of frames: (T, d) float32; gradients flow."""
        raise NotImplementedError

    def forward(
        self,
        pixels: Tensor | None,
        input_ids: Tensor,
        attention_mask: Tensor,
        unit_ids: Tensor | None = None,
        unit_mask: Tensor | None = None,
        frames: Tensor | None = None,
    ) -> dict[str, Any]:
        """Run both towers on a batch: `frames` (T, d), `texts` (N, d), `tokens` (N, L, d), `scale`, `bias`.

        More texts, such as the sentences of these, may have their own padding: `unit_ids` (U, M) and
        `unit_mask` add `units` (U, d). Stored frame vectors, `frames` (T, d), may replace `pixels`.
        """
        texts, tokens = self.text_features(input_ids, attention_mask.bool())
        outputs = {"texts": texts, "tokens": tokens, "scale": self.logit_scale, "bias": self.logit_bias}
        if unit_ids is not None and unit_mask is not None:
            outputs["units"] = self.text_features(unit_ids, unit_mask.bool())[0]
        if frames is None:
            assert pixels is not None, "either pixels or frame vectors"
            frames = self.image_features(pixels)
        return {"frames": frames, **outputs}

    def text_parts(self, text: str) -> list[str]:
        """Return a text in parts of at most the maximum number of tokens."""
        return self.text_rule.parts(self.tokenizer, text)

    @torch.no_grad()
    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode texts to vectors and token states. Texts beyond the maximum length are cut, with a warning.

        Texts are sorted by length and padded to the longest of their batch only, if the architecture allows it.
        """
        batch = as_texts(texts)
        rows, dropped = self._read(batch)
        width = self.text_rule.length if self.text_rule.fixed else max(map(len, rows))
        pooled = torch.empty(len(batch), self.embedding_dim, device=self.device)
        tokens = torch.zeros(len(batch), width, self.embedding_dim, device=self.device)
        mask = torch.zeros(len(batch), width, dtype=torch.bool, device=self.device)
        order = sorted(range(len(batch)), key=lambda i: len(rows[i]))
        pad_id, side = self.tokenizer.pad_token_id or 0, self.tokenizer.padding_side
        for start in range(0, len(order), TEXT_BATCH):
            chosen = order[start : start + TEXT_BATCH]
            ids, real = (part.to(self.device) for part in self.text_rule.pad([rows[i] for i in chosen], pad_id, side))
            pooled[chosen], tokens[chosen, : ids.shape[1]] = self.text_features(ids, real)
            mask[chosen, : ids.shape[1]] = real
        return TextEmbedding(pooled, tokens, mask, np.array(dropped, dtype=np.int64))

    def token_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, npt.NDArray[np.int64]]:
        """Tokenize texts: ids and mask (N, L), and dropped tokens (N,), with a warning if there are any."""
        rows, dropped = self._read(texts)
        ids, mask = self.text_rule.pad(rows, self.tokenizer.pad_token_id or 0, self.tokenizer.padding_side)
        return ids.to(self.device), mask.to(self.device), np.array(dropped, dtype=np.int64)

    def _read(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Return the tokens of each text, and how many were cut off, with a warning if any were."""
        rows, dropped = self.text_rule.token_ids(self.tokenizer, texts)
        advice = "" if self.text_rule.fixed else ", or load the model with a larger text_length"
        report_dropped(dropped, self.text_rule.length, self.name, advice)
        return rows, dropped

    def fingerprint(self) -> str:
        """Return a hash of weights, relevant settings, preprocessing and tokenizer.

        Weights are hashed as they were before any cast to bf16, so that an index serves both. The hash is cached until
        a weight changes.
        """
        return self._hashed()[0]

    def video_fingerprint(self) -> VideoFingerprint:
        """Return hashes of the image tower and its preprocessing alone, which do not change while the texts train."""
        return self._hashed()[1]

    def video_parameters(self) -> list[nn.Parameter]:
        """Return the image tower's weights, including its projection."""
        return [weight for name, weight in self.backbone.named_parameters() if not name.startswith(NOT_VIDEO)]

    def _hashed(self) -> tuple[str, VideoFingerprint]:
        version = self.weights_version()
        if self._hashes is None or self._hashes[0] != version:
            hashes = hash_tensors(self.backbone.state_dict())
            tokens = self.text_rule.token_ids(self.tokenizer, [PROBE])[0]
            self._hashes = (version, hash_towers(hashes, self.config.backbone, self.image_rule, self.text_rule, tokens))
        return self._hashes[1]

    def _token_head(self) -> nn.Linear:
        """Return the linear map from text states to the shared width."""
        head = getattr(self.backbone, "text_projection", None)
        return self.backbone.text_model.head if head is None else head
