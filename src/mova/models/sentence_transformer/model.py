"""Models of sentence-transformers (Reimers and Gurevych 2019, arXiv 1908.10084) with image or video input.

Texts, pictures and windows of frames go through the library's own `encode_query` and `encode_document`: its processor,
pooling and prompts. A model that takes videos makes one vector of a window of frames; any other takes single frames.

Shape legend: T frames, W windows, n frames per window, N texts, d width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mova.errors import ModelError, UsageError
from mova.models.backbone import START_SCALE, Backbone
from mova.models.background_captions import background_sentences
from mova.models.checkpoint import read_calibration
from mova.models.embeddings import TextEmbedding, VideoFingerprint
from mova.models.hub import KEPT, find_checkpoint
from mova.models.inputs.texts import as_texts
from mova.models.inputs.windows import WindowReading
from mova.models.precision import choose_device, choose_dtype, hash_weights
from mova.models.sentence_transformer.checkpoints import copy_with, describe, load_modules, own_settings
from mova.models.sentence_transformer.config import SentenceConfig
from mova.models.two_tower.text_processor import TextRule, report_dropped
from mova.scoring.windows.rule import WindowRule
from mova.types import Frames

BATCH = 32
"""Texts, or frames, that are encoded at once."""
WINDOW_FRAMES = 8
"""Frames per window of a model that takes videos, unless its folder says otherwise."""
LONGEST = 1_000_000
"""Tokenizers without a limit state more tokens than this."""


class SentenceEncoder(nn.Module, Backbone):
    """A model of sentence-transformers with the interface of `DualEncoder`, over single frames.

    `from_checkpoint` returns a `SentenceWindowEncoder` for a model that takes videos.

    >>> model = SentenceEncoder.from_checkpoint("tiny-sentence-clip")  # random weights; pip install 'mova[sentence]'
    >>> model.encode_video("film.mp4").frames.shape, model.encode_text("A dog runs.").pooled.shape
    (torch.Size([10, 24]), torch.Size([1, 24]))
    """

    config_class = SentenceConfig
    has_token_states = False
    keeps_files = True

    def __init__(self, inner: Any, name: str, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__()
        self.inner = inner
        self.name = name
        self.settings = settings
        self.frame_rate = float(settings.get("frame_rate") or 1.0)
        self.config = SentenceConfig(name, self.frame_rate)
        full = int(inner.get_embedding_dimension())
        self._width = int(settings.get("width") or full)
        if not 1 <= self._width <= full:
            raise UsageError(f"width must be from 1 to {full}, the length of this model's vectors, not {self._width}")
        self._folder = folder
        self.background = background_sentences()
        self._hashes: tuple[int, tuple[str, VideoFingerprint]] | None = None

    @classmethod
    def from_checkpoint(
        cls, name_or_path: str | Path, *, precision: str = "auto", device: str | torch.device | None = None
    ) -> SentenceEncoder:
        """Read a folder of sentence-transformers, or a name on the Hub.

        Args:
            name_or_path: a folder with `modules.json`, or a name on the Hub.
            precision, device: see `mova.load`.

        Raises:
            NotInstalledError: sentence-transformers is not installed.
            ModelError: it cannot be found, is damaged, asks for code or a pickle, or takes texts only.
        """
        return cls.read(name_or_path).prepare(precision, device)

    from_pretrained = from_checkpoint

    @classmethod
    def read(cls, name_or_path: str | Path, **settings: Any) -> SentenceEncoder:
        """Read a checkpoint in its own precision, to be saved with other settings.

        Args:
            name_or_path: see `from_checkpoint`.
            settings: `width`, `frame_rate`, `window_frames`, `window_stride`; `instruction` and `video_instruction` are
                the library's prompts `query` and `document`.

        Raises:
            ModelError: see `from_checkpoint`.
            UsageError: a width that the model does not have, or windows of a model without video input.
        """
        folder = find_checkpoint(name_or_path)
        name = str(folder.resolve() if Path(name_or_path).expanduser().is_dir() else name_or_path)
        inner = load_modules(folder, name)
        prompts = {"instruction": "query", "video_instruction": "document"}
        changed = {prompts[key]: settings.pop(key) for key in prompts if key in settings}
        inner.prompts.update(changed)
        chosen = {**own_settings(folder), **settings}
        if not inner.supports("text"):
            raise ModelError(f"{name}: takes no texts, so there is nothing to search with")
        frames = int(chosen.get("window_frames") or (WINDOW_FRAMES if inner.supports("video") else 1))
        if frames > 1 and not inner.supports("video"):
            raise UsageError(f"{name}: takes single pictures, not windows of {frames} frames")
        if frames == 1 and not inner.supports("image"):
            raise ModelError(f"{name}: takes texts, but neither pictures nor videos; an index needs one of them")
        kind = SentenceEncoder if frames == 1 else SentenceWindowEncoder
        return kind(inner, name, folder, chosen | {"window_frames": frames})

    @classmethod
    def from_kept_files(cls, folder: Path, settings: dict[str, Any]) -> SentenceEncoder:
        """Read the files that a model around this one keeps in its folder, in their own precision.

        Args:
            folder: of the model around it.
            settings: of `SentenceConfig`.

        Raises:
            ModelError: see `from_checkpoint`.
        """
        model = cls.read(folder / KEPT)
        model.config = SentenceConfig.from_dict(settings)
        read_calibration(model)
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the checkpoint with these settings and prompts. Weights are those of its files."""
        stride = None if self.window.is_picture else self.window.stride
        settings = self.settings | {"frame_rate": self.frame_rate, "window_stride": stride}
        copy_with(self._folder, Path(folder), settings, dict(self.inner.prompts))

    def save_tokenizer_to(self, folder: str | Path) -> None:
        """Copy the whole checkpoint to the folder of a model around it: no other code can make its modules."""
        self.save_pretrained(Path(folder) / KEPT)

    def prepare(self, precision: str, device: str | torch.device | None) -> Self:
        """Move to a device and a precision, ready to encode. The fingerprint stays that of the file."""
        target = choose_device(device)
        dtype = choose_dtype(precision, target)
        if any(weight.dtype != dtype for weight in self.parameters() if weight.is_floating_point()):
            hashes = self._hashed()
            self.inner.to(dtype)
            self._hashes = (self.weights_version(), hashes)
        self.inner.to(target)
        return self.eval()

    @property
    def embedding_dim(self) -> int:
        """Width d of the shared space."""
        return self._width

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return next(self.parameters()).device

    @torch.no_grad()
    def encode_frames(self, frames: Frames) -> Tensor:
        """Encode frames of any size, each as a picture: (T, d), float32."""
        pictures = [Image.fromarray(np.ascontiguousarray(pixels)) for pixels in frames.pixels]
        return self._vectors(pictures, self.inner.encode_document)

    def text_parts(self, text: str) -> list[str]:
        """Return a text in parts of at most the tokens that the model reads, its prompt apart."""
        if self.text_rule is None:
            return [text]
        return self.text_rule.parts(self.inner.tokenizer, text)

    @torch.no_grad()
    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode texts with the prompt `query`, if the model has one. Longer texts are cut, with a warning.

        The library has no common form for the states of single tokens, so a text has one token state, its own vector.

        Raises:
            UsageError: no text at all.
        """
        batch = as_texts(texts)
        rule, dropped = self.text_rule, [0] * len(batch)
        if rule is not None:
            dropped = rule.token_ids(self.inner.tokenizer, batch)[1]
            report_dropped(dropped, rule.length, self.name)
        marked = [{"text": text} for text in batch]  # a plain string that looks like an address would be opened
        pooled = self._vectors(marked, self.inner.encode_query)
        mask = torch.ones(len(batch), 1, dtype=torch.bool, device=pooled.device)
        return TextEmbedding(pooled, pooled[:, None], mask, np.array(dropped, dtype=np.int64))

    def _vectors(self, inputs: Sequence[Any], encode: Any, **options: Any) -> Tensor:
        """Return the vectors (N, d) of inputs, float32."""
        if not inputs:
            return torch.empty(0, self.embedding_dim, device=self.device)
        settings = {"batch_size": BATCH, "show_progress_bar": False, "convert_to_tensor": True}
        encoded: Tensor = encode(list(inputs), truncate_dim=self.embedding_dim, **settings, **options)
        return encoded.clone().float()  # those of inference mode cannot be trained on

    @torch.no_grad()
    def forward(
        self,
        pixels: None,
        input_ids: Tensor,
        attention_mask: Tensor,
        unit_ids: Tensor | None = None,
        unit_mask: Tensor | None = None,
        *,
        frames: Tensor,
    ) -> dict[str, Any]:
        """Encode a batch of texts beside stored vectors, `frames` (T, d), as two-tower models do.

        No weight is trained: `scale` is `START_SCALE`.

        Args:
            pixels: None.
            input_ids, unit_ids: UTF-8 bytes of texts, (N, L) and (U, M).
            attention_mask, unit_mask: true where a byte is real.
            frames: (T, d).
        """
        texts = self._read_bytes(input_ids, attention_mask)
        scale = torch.tensor(START_SCALE, device=self.device)
        outputs = {"frames": frames, "texts": texts.pooled, "scale": scale, "bias": None}
        if unit_ids is not None and unit_mask is not None:
            outputs["units"] = self._read_bytes(unit_ids, unit_mask).pooled
        return {**outputs, "tokens": texts.tokens, "token_mask": texts.mask}

    def _read_bytes(self, rows: Tensor, mask: Tensor) -> TextEmbedding:
        """Encode texts from their UTF-8 bytes (N, L)."""
        pairs = zip(rows.cpu().tolist(), mask.sum(dim=1).tolist(), strict=True)
        return self.encode_text([bytes(row[: int(count)]).decode() for row, count in pairs])

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: no weight is trained."""
        return super().train(False)

    def video_parameters(self) -> list[nn.Parameter]:
        """Return all weights: they stay those of the files."""
        return list(self.parameters())

    @cached_property
    def text_rule(self) -> TextRule | None:
        """Maximum number of tokens of a text, without those of its prompt and conversation; None: no limit."""
        tokenizer, longest = self.inner.tokenizer, self.inner.max_seq_length
        if tokenizer is None or longest is None or longest > LONGEST:
            return None
        prompt = self.inner.prompts.get("query") or ""
        features = self.inner.preprocess([{"text": "a"}], prompt=prompt, task="query")
        around = features["input_ids"].shape[1] - len(tokenizer("a")["input_ids"]) if self._converses else 0
        if not self._converses and prompt:
            around = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        return TextRule(max(3, int(longest) - max(0, around)))

    @property
    def _converses(self) -> bool:
        """Whether the model reads a text as a message in a conversation."""
        return bool(self.inner.supports("message"))

    def fingerprint(self) -> str:
        """Return a hash of the weights, and of all settings and tokenizers in the folder."""
        return self._hashed()[0]

    def video_fingerprint(self) -> VideoFingerprint:
        """Return hashes of the weights, and of all settings; the text side is not separated."""
        return self._hashed()[1]

    def _hashed(self) -> tuple[str, VideoFingerprint]:
        version = self.weights_version()
        if self._hashes is None or self._hashes[0] != version:
            weights = hash_weights(self.inner.state_dict(), widened=True)
            prompts = f"{sorted(self.inner.prompts.items())} {self.inner.default_prompt_name}"
            kind = f"{describe(self._folder)} {prompts} {self.embedding_dim} {self.window.is_picture}"
            settings = hashlib.sha256(kind.encode()).hexdigest()
            whole = hashlib.sha256(f"{weights} {settings}".encode()).hexdigest()
            self._hashes = (version, (whole[:32], VideoFingerprint(weights[:32], settings[:32])))
        return self._hashes[1]


class SentenceWindowEncoder(WindowReading, SentenceEncoder):
    """A model of sentence-transformers that takes videos: one vector per window of frames."""

    def __init__(self, inner: Any, name: str, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(inner, name, folder, settings)
        frames = int(settings["window_frames"])
        self.window = WindowRule(frames, int(settings.get("window_stride") or max(1, frames // 2)))

    def prepare_frames(self, frames: Frames) -> Tensor:
        """Return frames as they are, uint8 (T, H, W, 3): the library's processor resizes them."""
        return torch.from_numpy(np.ascontiguousarray(frames.pixels))

    @torch.no_grad()
    def encode_windows(self, windows: Tensor, rate: float) -> Tensor:
        """Encode windows of frames: uint8 (W, n, H, W, 3) -> float32 (W, d); times count from its first frame."""
        count = windows.shape[1]
        clock = {"fps": rate, "total_num_frames": count, "duration": count / rate, "frames_indices": [*range(count)]}
        videos = [{"array": window.numpy(), "video_metadata": clock} for window in windows]
        all_frames = {"video": {"do_sample_frames": False}}
        return self._vectors(videos, self.inner.encode_document, processing_kwargs=all_frames)
