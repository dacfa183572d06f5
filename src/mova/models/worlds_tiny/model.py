"""A small two-tower model for Worlds: demonstration and offline tests, not real footage.

The frame tower sees three frames half a second apart, stacked as channels, so that one vector can encode motion; a
convolutional stem feeds a few transformer blocks. The text tower reads whole words. In training, auxiliary heads
predict the factors of the stacked frames.

Shape legend: T frames, C channels, h = w input pixels, P patches, N texts, L words, D tower width, d shared width.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mova.errors import UsageError
from mova.models.backbone import Backbone
from mova.models.checkpoint import load_complete, read_calibration, write_calibration
from mova.models.embeddings import TextEmbedding, VideoFingerprint
from mova.models.inputs.texts import as_texts
from mova.models.precision import choose_device, choose_dtype, hash_weights
from mova.models.relations.basis import Relations
from mova.models.worlds_tiny.towers import STACK, FrameTower, TextTower, WorldsTinyConfig, word_tokenizer
from mova.scoring.chain import ChainCosts
from mova.scoring.emissions import AlignmentWeights
from mova.scoring.pooling import masked_mean, weighted_mean
from mova.text.parts import split_to_fit
from mova.types import Frames
from mova.worlds.captions import background_sentences, detailed_sentences
from mova.worlds.vocabulary import interchangeable_words, renumbered

logger = logging.getLogger(__name__)

BATCH, CPU_BATCH = 256, 32
"""Stacks encoded at once; larger batches do not stay in the caches of a CPU."""

WORLDS_WEIGHTS = AlignmentWeights(
    level=3.33,
    contrast=2.917,
    peak=2.191,
    offset=2.099,
    limit=6.825,
    independent_seconds=4.0,
    floor=12.138,
    position=0.0,
    novelty=0.858,
    costs=ChainCosts(change=1.923, enter=-0.652, skip=1.873, repeat=5.1),
    order=0.0,
    slope=0.987,
    intercept=3.423,
    length=-0.35,
    certainty=-0.371,
    shown_slope=1.465,
    shown_intercept=-15.14,
    shown_length=-1.255,
    shown_peak=6.06,
    shown_level=-3.428,
)
"""Weights of mova-worlds-tiny, fitted on 56 Worlds of 60 and 630 s, and the maps of posteriors and of `shown` on 504
others (`mova bench alignment_weights`). `independent_seconds` and `order` were chosen on these
(`docs/decisions/0014-joint-alignment.md`)."""


class WorldsTiny(PreTrainedModel, Backbone):
    """Two towers over stacked frames and whole words. Load with `from_pretrained(folder)`.

    >>> model = WorldsTiny.from_pretrained(shipped_folder())
    >>> model.encode_video("film.mp4").frames.shape
    torch.Size([20, 192])
    """

    config_class = WorldsTinyConfig
    base_model_prefix = "worlds_tiny"
    main_input_name = "stacks"
    context = STACK // 2
    has_class_token = True
    fixed_frame_rate = True
    alignment = WORLDS_WEIGHTS
    interchangeable = interchangeable_words()
    renumber = staticmethod(renumbered)

    def __init__(self, config: WorldsTinyConfig) -> None:
        super().__init__(config)
        self.frame_tower = FrameTower(config)
        self.text_tower = TextTower(config)
        self.factor_heads = nn.ModuleDict(
            {name: nn.Linear(config.embedding_dim, size) for name, size in config.factors.items()}
        )
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(14.0))))
        self.name = "mova-worlds-tiny"
        self.frame_rate = config.frame_rate
        self.background = config.background or background_sentences()
        self.unlikely = config.background or detailed_sentences()
        read_calibration(self)
        if config.alignment is not None:
            self.alignment = AlignmentWeights.from_dict(config.alignment)
        self._tokenizer: PreTrainedTokenizerFast | None = None
        self.post_init()

    def trained_scale(self) -> float:
        """Return the factor on cosines of the contrastive loss."""
        return self.log_scale.detach().exp().clamp(max=100.0).item()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *args: Any,
        precision: str = "auto",
        device: str | torch.device | None = "cpu",
        **kwargs: Any,
    ) -> Self:
        """Load a folder that `save_pretrained` wrote. The model is small: precision "auto" is fp32 on any device.

        Raises:
            ModelError: weights are missing or damaged.
        """
        folder = Path(pretrained_model_name_or_path).expanduser().resolve()
        model = load_complete(partial(super().from_pretrained, folder, *args, **kwargs), str(folder))
        model.name = str(folder)
        model.relations = Relations.read(folder)
        return model.prepare(precision, device)

    def prepare(self, precision: str, device: str | torch.device | None) -> Self:
        """Move to a device and a precision ("auto" is fp32), ready to encode."""
        target = choose_device(device)
        dtype = torch.float32 if precision == "auto" else choose_dtype(precision, target)
        return self.to(device=target, dtype=dtype).eval()

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save weights and configuration, including settings measured on validation data, into one folder."""
        write_calibration(self)
        super().save_pretrained(save_directory, *args, **kwargs)
        if self.relations is not None:
            self.relations.save(Path(save_directory))

    def _init_weights(self, module: nn.Module) -> None:
        """Keep PyTorch's own initialization; transformers must not replace it."""

    @property
    def embedding_dim(self) -> int:
        """Width d of the shared space."""
        return self.config.embedding_dim

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Whole-word tokenizer over the configuration's vocabulary."""
        if self._tokenizer is None:
            self._tokenizer = word_tokenizer(self.config.vocabulary, self.config.max_words)
        return self._tokenizer

    def forward(
        self,
        stacks: Tensor | None,
        input_ids: Tensor,
        attention_mask: Tensor,
        unit_ids: Tensor | None = None,
        unit_mask: Tensor | None = None,
        frames: Tensor | None = None,
    ) -> dict[str, Any]:
        """Return everything an objective needs of a batch; gradients flow.

        Args:
            stacks: uint8, (T, 9, h, w).
            input_ids, attention_mask: (N, L).
            unit_ids, unit_mask: (U, M), a second batch of texts with its own padding.
            frames: float32, (T, d), stored vectors, which may replace `stacks`.

        Returns:
            `frames` (T, d), `texts` (N, d), `tokens` (N, L, d), `factors` name -> logits (T, values), `scale` scalar,
            and `units` (U, d) if there are any.
        """
        mask = attention_mask.bool()
        if frames is None:
            assert stacks is not None, "either stacks or frame vectors"
            frames = self.frame_tower(self._normalize(stacks))
        tokens = self.text_tower(input_ids, mask)
        outputs = {
            "frames": frames,
            "texts": masked_mean(tokens, mask),
            "tokens": tokens,
            "factors": {name: head(frames) for name, head in self.factor_heads.items()},
            "scale": self.log_scale.exp().clamp(max=100.0),
        }
        if unit_ids is not None and unit_mask is not None:
            real = unit_mask.bool()
            outputs["units"] = masked_mean(self.text_tower(unit_ids, real), real)
        return outputs

    def preprocess(self, frames: Frames) -> Tensor:
        """Resize frames (T, H, W, 3) to uint8 (T, 3, h, w): shortest side to h, then the center square."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames.pixels)).to(self.device)
        return center_square(pixels.permute(0, 3, 1, 2), self.config.image_size)

    def stack(self, frames: Frames) -> Tensor:
        """Stack consecutive frames (T, H, W, 3) sampled at `frame_rate`: uint8 (T, 9, h, w); ends are repeated."""
        small = self.preprocess(frames)
        padded = torch.cat([small[:1], small, small[-1:]])
        return torch.cat([padded[:-2], padded[1:-1], padded[2:]], dim=1)

    def image_features(self, stacks: Tensor) -> Tensor:
        """Encode uint8 stacks (T, 9, h, w) to vectors (T, d), float32; gradients flow."""
        return self.frame_tower(self._normalize(stacks)).float()

    def dense_images(self, stacks: Tensor) -> Tensor:
        """Encode uint8 stacks (T, 9, h, w) to states (T, 1 + P, D), float32, class token first; gradients flow."""
        return self.frame_tower.states(self._normalize(stacks)).float()

    def dense_texts(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Encode ids and mask (N, L) to states (N, L, D), float32; gradients flow."""
        return self.text_tower.states(input_ids, mask).float()

    @property
    def dense_widths(self) -> tuple[int, int]:
        """Widths D of `dense_images` and of `dense_texts`."""
        return self.config.hidden_size, self.config.hidden_size

    @property
    def towers(self) -> tuple[nn.Module, nn.Module]:
        """The frame tower and the text tower."""
        return self.frame_tower, self.text_tower

    @property
    def pooling_modules(self) -> list[nn.Module]:
        """Parts of the towers that dense states do not pass, because they pool and project."""
        return [self.frame_tower.norm, self.frame_tower.project, self.text_tower.norm, self.text_tower.project]

    @torch.no_grad()
    def encode_frames(self, frames: Frames) -> Tensor:
        """Encode consecutive frames sampled at `frame_rate`: (T, d), float32; ends are repeated."""
        return torch.cat([self.image_features(chunk) for chunk in self.image_batches(frames)])

    def image_batches(self, frames: Frames) -> Iterable[Tensor]:
        """Return the frame tower's input for consecutive frames, stacks (T, 9, h, w), in batches."""
        return self.stack(frames).split(CPU_BATCH if self.device.type == "cpu" else BATCH)

    def text_parts(self, text: str) -> list[str]:
        """Return a text in parts of at most the maximum number of words."""
        return split_to_fit(
            text, lambda part: len(self.tokenizer(part, verbose=False)["input_ids"]), self.config.max_words
        )

    @torch.no_grad()
    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode texts to vectors and token states. Unknown words and words past the limit are reported in warnings.

        Raises:
            UsageError: no text at all.
        """
        ids, mask, dropped = self.token_ids(as_texts(texts))
        unknown = int((ids == self.tokenizer.unk_token_id).sum())
        if unknown:
            logger.warning("%d of %d words are unknown to %s", unknown, int(mask.sum()), self.name)
        if dropped.any():
            logger.warning("%d words beyond the first %d of a text were dropped", dropped.sum(), ids.shape[1])
        tokens = self.text_tower(ids, mask).float()
        return TextEmbedding(masked_mean(tokens, mask), tokens, mask, dropped)

    def token_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, npt.NDArray[np.int64]]:
        """Tokenize texts: ids and mask (N, L), and how many words of each text were cut off, (N,).

        Raises:
            UsageError: no text at all.
        """
        if not len(texts):
            raise UsageError("no texts to encode")
        unknown = self.tokenizer.unk_token_id  # represents a text without any word
        full = [row or [unknown] for row in self.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]
        length = min(max(map(len, full)), self.config.max_words)
        ids = torch.tensor([(row + [0] * length)[:length] for row in full], device=self.device)
        counts = torch.tensor([len(row) for row in full], device=self.device)
        mask = torch.arange(length, device=self.device) < counts[:, None]
        return ids, mask, np.array([max(0, len(row) - length) for row in full], dtype=np.int64)

    @property
    def word_width(self) -> int:
        """Width D of `word_vectors`."""
        return self.config.hidden_size

    def word_vectors(self, ids: Tensor) -> Tensor:
        """Embed words without positions or neighbors: (N, L) -> (N, L, D)."""
        return self.text_tower.words(ids)

    def read_softly(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Encode texts with weighted words: attention scores of a word get `log w`, and the mean is weighted.

        With weights of 1 and 0 the results are those of `encode_text`.

        Args:
            ids: int64, (U, P).
            weights: (U, P), in [0, 1]; at least one above 0 per row. Gradients flow to them.

        Returns:
            (U, d).
        """
        log_weights = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()
        states = self.text_tower(ids, weights > 0, log_weights)
        return weighted_mean(states, weights.unsqueeze(1)).squeeze(1)

    def fingerprint(self) -> str:
        """Return a hash of all weights and of the settings that change a vector."""
        settings = (
            self.config.vocabulary,
            self.config.image_size,
            self.config.max_words,
            self.config.frame_rate,
        )
        return hashlib.sha256(f"{settings} {hash_weights(self.state_dict())}".encode()).hexdigest()

    def video_fingerprint(self) -> VideoFingerprint:
        """Return hashes of the frame tower, and of its input size and rate."""
        settings = (self.config.image_size, self.config.frame_rate)
        return VideoFingerprint(hash_weights(self.frame_tower.state_dict()), f"{settings[0]} pixels, {settings[1]} fps")

    def video_parameters(self) -> list[nn.Parameter]:
        """Return the frame tower's weights."""
        return list(self.frame_tower.parameters())

    def _normalize(self, stacks: Tensor) -> Tensor:
        """Map uint8 to [-1, 1] in the tower's type."""
        return stacks.to(self.log_scale.dtype).mul_(1 / 127.5).sub_(1.0)


def center_square(pixels: Tensor, size: int) -> Tensor:
    """Resize the shortest side to `size` and crop the center: uint8 (T, 3, H, W) -> uint8 (T, 3, size, size).

    >>> center_square(torch.zeros(2, 3, 48, 64, dtype=torch.uint8), 32).shape
    torch.Size([2, 3, 32, 32])
    """
    height, width = pixels.shape[-2:]
    if (height, width) == (size, size):
        return pixels
    short = min(height, width)
    target = (max(size, round(height * size / short)), max(size, round(width * size / short)))
    scaled = F.interpolate(pixels.float(), target, mode="bilinear", antialias=True, align_corners=False)
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return scaled[..., top : top + size, left : left + size].round().clamp(0, 255).to(torch.uint8)


def shipped_folder(name: str = "mova-worlds-tiny") -> Path:
    """Return the folder of trained weights inside the package."""
    return Path(__file__).resolve().parent / "weights" / name
