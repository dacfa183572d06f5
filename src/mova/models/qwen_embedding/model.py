"""Qwen3-VL-Embedding (QwenLM/Qwen3-VL-Embedding, 2026): a vision-language model whose last token is the vector.

A text, or a window of frames, is the user's message in a conversation. The system's message is an instruction, which
says what the vector is for. The vector is the state of the last token of the prompt, where an answer would begin
(`add_generation_prompt`). Its first numbers alone are a vector, too (Matryoshka, Kusupati et al. 2022). Prompts are
those of the processor of transformers; frames are resized as for video LLMs (`models/video_llm/frames.py`).

Shape legend: T frames, W windows, n frames per window, N texts, L tokens, d width.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.video_utils import VideoMetadata

from mova.errors import ModelError, UsageError
from mova.models.backbone import START_SCALE, Backbone
from mova.models.background_captions import background_sentences
from mova.models.checkpoint import load_complete, quiet_transformers, read_calibration, write_calibration
from mova.models.embeddings import TextEmbedding, VideoFingerprint
from mova.models.hub import find_checkpoint, read_json
from mova.models.inputs.texts import as_texts
from mova.models.inputs.windows import WindowReading
from mova.models.precision import choose_device, choose_dtype, hash_weights
from mova.models.qwen_embedding.checkpoints import KIND, is_embedding, is_reranker
from mova.models.qwen_embedding.config import QwenEmbeddingConfig
from mova.models.qwen_embedding.prompts import MOST_TOKENS, Prompts
from mova.models.two_tower.fingerprint import PROBE
from mova.models.video_llm.frames import time_settings
from mova.models.video_llm.processor import load_processor
from mova.scoring.windows.rule import WindowRule
from mova.types import Frames

TEXT_BATCH = 32
FILES = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json", "chat_template.jinja")
"""Settings of the processor, beside its tokenizer."""


class QwenEmbedding(WindowReading, PreTrainedModel, Backbone):
    """A Qwen3-VL-Embedding model with the interface of `DualEncoder`, over windows.

    `from_checkpoint` reads a checkpoint of the Hub; `save_pretrained` and `from_pretrained` use mova's folder format,
    which keeps instruction, width and windows.

    >>> model = QwenEmbedding.from_checkpoint("tiny-vl-embedding", width=16, window_frames=4)  # random weights
    >>> model.encode_text("A dog runs.").pooled.shape
    torch.Size([1, 16])
    >>> model.encode_video("film.mp4").windows.tolist()
    [[0.0, 4.0], [2.0, 6.0], [4.0, 8.0], [6.0, 10.0]]
    """

    config_class = QwenEmbeddingConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: QwenEmbeddingConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if backbone is None:
            self.backbone = AutoModel.from_config(AutoConfig.for_model(**config.backbone), trust_remote_code=False)
            self.post_init()
        else:
            self.backbone = backbone
            with no_init_weights():
                self.post_init()
        full = int(self.backbone.config.text_config.hidden_size)
        if config.width is not None and not 1 <= config.width <= full:
            raise UsageError(f"width must be from 1 to {full}, the length of this model's vectors, not {config.width}")
        self.processor: Any = None
        self._files: dict[str, str] = {}
        self.name = config.source
        self.frame_rate = config.frame_rate
        stride = config.window_stride or max(1, config.window_frames // 2)
        self.window = WindowRule(config.window_frames, stride)
        self.background = background_sentences()
        read_calibration(self)
        self._hashes: tuple[int, tuple[str, VideoFingerprint]] | None = None

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing: the backbone initializes itself, and there are no other weights."""

    @classmethod
    def from_checkpoint(
        cls,
        name_or_path: str | Path,
        *,
        precision: str = "auto",
        device: str | torch.device | None = None,
        **settings: Any,
    ) -> Self:
        """Read a checkpoint in the Hub's layout.

        Args:
            name_or_path, settings: see `read`.
            precision, device: see `mova.load`.

        Raises:
            ModelError: it cannot be found, is damaged, or is a checkpoint for conversation.
            UsageError: an unknown precision, or a width that the model does not have.
        """
        return cls.read(name_or_path, **settings).prepare(precision, device)

    @classmethod
    def read(cls, name_or_path: str | Path, **settings: Any) -> Self:
        """Read a checkpoint in the Hub's layout in its own precision, to be saved with other settings.

        Args:
            name_or_path: name on the Hub or local folder.
            settings: of `QwenEmbeddingConfig`: `width`, `instruction`, `video_instruction`, `frame_rate`,
                `window_frames`, `window_stride`.

        Raises:
            ModelError, UsageError: see `from_checkpoint`.
        """
        folder = find_checkpoint(name_or_path)
        name = str(folder.resolve() if Path(name_or_path).expanduser().is_dir() else name_or_path)
        if not is_embedding(name_or_path):
            kind = "reranker" if is_reranker(name_or_path) else "video LLM for conversation"
            raise ModelError(
                f"{name}: is a {kind}, not an encoder: use it with `mova score`, `mova judge` or "
                "`mova search --rerank`, and for an index a Qwen3-VL-Embedding"
            )
        load = partial(AutoModel.from_pretrained, folder, dtype="auto", trust_remote_code=False)
        backbone = load_complete(load, name)
        config = cls.config_class(backbone=backbone.config.to_dict(), source=name, **settings)
        model = cls(config, backbone)
        model.load_tokenizer_from(folder)
        return model

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *args: Any,
        precision: str = "auto",
        device: str | torch.device | None = "cpu",
        **kwargs: Any,
    ) -> Self:
        """Load a folder that `save_pretrained` wrote.

        Raises:
            ModelError: the folder is incomplete or damaged.
        """
        folder = Path(pretrained_model_name_or_path).expanduser().resolve()
        if not read_json(folder / "config.json").get("backbone"):
            raise ModelError(f"{folder}: was not saved by mova; use QwenEmbedding.from_checkpoint")
        load = partial(super().from_pretrained, folder, *args, dtype="auto", **kwargs)
        model = load_complete(load, str(folder))
        model.load_tokenizer_from(folder)
        model.name = str(folder)
        return model.prepare(precision, device)

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save weights (safetensors), configuration and processor into one folder."""
        self.config.window_frames, self.config.window_stride = self.window.frames, self.window.stride
        self.config.frame_rate = self.frame_rate
        write_calibration(self)
        with quiet_transformers():
            super().save_pretrained(save_directory, *args, **kwargs)
        self.save_tokenizer_to(save_directory)

    def load_tokenizer_from(self, folder: Path) -> None:
        """Load the processor from a folder."""
        self.processor = load_processor(folder, KIND)
        self._files = {name: (folder / name).read_text(encoding="utf-8") for name in FILES if (folder / name).is_file()}

    def save_tokenizer_to(self, folder: str | Path) -> None:
        """Save tokenizer, chat template and the settings of frames to a folder, as they were read."""
        self.tokenizer.save_pretrained(folder)
        for name, text in self._files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")

    def prepare(self, precision: str, device: str | torch.device | None) -> Self:
        """Move to a device and a precision, ready to encode. The fingerprint stays that of the file."""
        target = choose_device(device)
        dtype = choose_dtype(precision, target)
        if dtype != self.compute_dtype:
            hashes = self._hashed()
            self.backbone.to(dtype)
            self._hashes = (self.weights_version(), hashes)
        return self.to(target).eval()

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the processor."""
        return self.processor.tokenizer

    @property
    def embedding_dim(self) -> int:
        """Width d of the shared space."""
        return int(self.config.width or self.backbone.config.text_config.hidden_size)

    @property
    def compute_dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.backbone.parameters()).dtype

    @property
    def text_length(self) -> int | None:
        """Maximum number of tokens per prompt."""
        return MOST_TOKENS

    def prepare_frames(self, frames: Frames) -> Tensor:
        """Return frames as they are, uint8 (T, H, W, 3): their size in a prompt depends on the number in a window."""
        return torch.from_numpy(np.ascontiguousarray(frames.pixels))

    @torch.no_grad()
    def encode_windows(self, windows: Tensor, rate: float) -> Tensor:
        """Encode windows of frames: uint8 (W, n, H, W, 3) -> float32 (W, d); one prompt per window."""
        times = np.arange(windows.shape[1]) / rate
        return torch.cat([self._window(Frames(window.numpy(), times)) for window in windows])

    def _window(self, frames: Frames) -> Tensor:
        """Return the vector (1, d) of one window. Its times count from its first frame."""
        prompt = self.prompts.write({"type": "video"}, self.config.video_instruction)
        made = self.processor(
            text=[prompt],
            videos=[frames.pixels],
            videos_kwargs={"video_metadata": [VideoMetadata(**time_settings(frames))]},
            text_kwargs={"return_tensors": "pt"},
        )
        inputs = {key: torch.as_tensor(value) for key, value in made.items()}
        return self._run(inputs)[:, -1, : self.embedding_dim].float()

    @property
    def prompts(self) -> Prompts:
        """Makes the prompts of texts and videos."""
        return Prompts(self.processor, self.config.instruction)

    def text_parts(self, text: str) -> list[str]:
        """Return a text in parts that fit into a prompt."""
        return self.prompts.parts(text)

    @torch.no_grad()
    def encode_text(self, texts: str | Sequence[str]) -> TextEmbedding:
        """Encode texts: the vector of a text is that of the last token of its prompt.

        Token states are those of the whole prompt. Prompts of more than 8,192 tokens lose those at the end of the text,
        as in the published code.

        Raises:
            UsageError: no text at all.
        """
        batch, prompts = as_texts(texts), self.prompts
        rows, dropped = prompts.read(batch)
        tokens = torch.zeros(len(batch), max(map(len, rows)), self.embedding_dim, device=self.device)
        mask = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=self.device)
        pooled = torch.zeros(len(batch), self.embedding_dim, device=self.device)
        order = sorted(range(len(batch)), key=lambda i: len(rows[i]))
        for start in range(0, len(order), TEXT_BATCH):
            chosen = order[start : start + TEXT_BATCH]
            ids, real = prompts.pad([rows[i] for i in chosen])
            pooled[chosen], tokens[chosen, : ids.shape[1]] = self.text_features(ids, real)
            mask[chosen, : ids.shape[1]] = real.to(self.device)
        return TextEmbedding(pooled, tokens, mask, np.array(dropped, dtype=np.int64))

    def text_features(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled vectors (N, d) and the states of all tokens (N, L, d) of prompts padded on the right."""
        states = self._run({"input_ids": input_ids, "attention_mask": mask.long()})[..., : self.embedding_dim].float()
        ends = mask.sum(dim=1).to(states.device) - 1
        return states[torch.arange(len(states), device=states.device), ends], states

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
        """Encode a batch of texts beside stored vectors of windows, `frames` (T, d), as two-tower models do.

        All weights make the vectors of windows, too, so none is trained: `scale` is `START_SCALE`.
        """
        texts, tokens = self.text_features(input_ids, attention_mask.bool())
        scale = torch.tensor(START_SCALE, device=self.device)
        outputs = {"frames": frames, "texts": texts, "tokens": tokens, "scale": scale, "bias": None}
        if unit_ids is not None and unit_mask is not None:
            outputs["units"] = self.text_features(unit_ids, unit_mask.bool())[0]
        return outputs

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: no weight is trained."""
        return super().train(False)

    def video_parameters(self) -> list[nn.Parameter]:
        """Return all weights: texts pass those that windows pass."""
        return list(self.backbone.parameters())

    def _run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the last states of prompts (N, L, full width)."""
        accepted = inspect.signature(self.backbone.forward).parameters
        device, dtype = self.device, self.compute_dtype
        moved = {
            key: value.to(device, dtype if value.is_floating_point() else None)
            for key, value in inputs.items()
            if key in accepted
        }
        states: Tensor = self.backbone(**moved, use_cache=False).last_hidden_state
        return states

    def fingerprint(self) -> str:
        """Return a hash of the weights, and of instruction, width and tokenizer."""
        return self._hashed()[0]

    def video_fingerprint(self) -> VideoFingerprint:
        """Return hashes of the weights, and of everything that the vector of a window depends on."""
        return self._hashed()[1]

    def _hashed(self) -> tuple[str, VideoFingerprint]:
        version = self.weights_version()
        if self._hashes is None or self._hashes[0] != version:
            weights = hash_weights(self.backbone.state_dict(), widened=True)
            tokens = self.prompts.ids([PROBE])
            frames = self.processor.video_processor
            video = f"{self.config.video_instruction} {self.embedding_dim} {frames.image} {frames.patches}"
            whole = hashlib.sha256(f"{weights} {video} {self.config.instruction} {tokens}".encode()).hexdigest()
            image = hashlib.sha256(video.encode()).hexdigest()
            self._hashes = (version, (whole[:32], VideoFingerprint(weights[:32], image[:32])))
        return self._hashes[1]
