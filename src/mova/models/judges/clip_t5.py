"""CLIP-FlanT5 (Lin et al. 2024, arXiv 2404.01291) as a judge, the model that VQAScore was made with.

LLaVA's construction with an encoder-decoder: patches of a CLIP tower (second to last layer) pass a small network and
take the place of `<image>` in FlanT5's prompt; the answer is the first token of its decoder. transformers does not have
this architecture, so it is written here; weights load from the published checkpoints (`zhiqiulin/clip-flant5-xxl`,
`-xl`), and those of the tower from the checkpoint that their configuration names.

Shape legend: n pairs of an image and a text, P patches, d width of FlanT5.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoTokenizer, CLIPVisionModel, T5Config, T5ForConditionalGeneration

from mova.errors import ModelError, UsageError, refuse_code
from mova.models.hub import find_checkpoint
from mova.models.judges.base import FigureJudge, answers_of, judge_prompt, read_yes
from mova.models.precision import choose_device, choose_dtype, hash_weights
from mova.models.video_llm.prefix_cache import pad
from mova.models.video_llm.prompt import Question

KIND = "clip_t5"
IMAGE = "<image>"
LENGTH = 2048
"""Tokens of a prompt, at most."""
TOKENIZERS = {4096: "google/flan-t5-xxl", 2048: "google/flan-t5-xl"}
"""Width -> tokenizer of a checkpoint that has none of its own."""


class ClipT5Config(T5Config):
    """FlanT5's configuration, with that of the tower (`mm_vision_tower`, ...)."""

    model_type = KIND


class ClipT5(T5ForConditionalGeneration):
    """FlanT5 with the network that maps patches to its width."""

    config_class = ClipT5Config
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"vision_tower\.", r"^embed_tokens\."]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        match = re.fullmatch(r"mlp(\d+)x_gelu", str(getattr(config, "mm_projector_type", "mlp2x_gelu")))
        if match is None:
            raise ModelError(f"a CLIP-T5 with projector {config.mm_projector_type!r} is not supported")
        layers: list[nn.Module] = [nn.Linear(config.mm_hidden_size, config.d_model)]
        for _ in range(1, int(match[1])):
            layers += [nn.GELU(), nn.Linear(config.d_model, config.d_model)]
        self.mm_projector = nn.Sequential(*layers)
        self.post_init()


class ClipT5Judge(FigureJudge):
    """CLIP-FlanT5 with its tower.

    Args:
        model: FlanT5 with the projector.
        tower: CLIP's vision model.
        tokenizer, image_processor: of both.
        name: display name.
    """

    def __init__(self, model: ClipT5, tower: Any, tokenizer: Any, image_processor: Any, name: str = "unnamed") -> None:
        self.model, self.tower, self.name = model.eval(), tower.eval(), name
        self.tokenizer, self.image_processor = tokenizer, image_processor
        self.layer = int(getattr(model.config, "mm_vision_select_layer", -2))

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        precision: str = "auto",
        device: str | torch.device | None = None,
        device_map: str | dict[str, Any] | None = None,
        quantise: str | None = None,
    ) -> ClipT5Judge:
        """Load a published checkpoint, its tower and its tokenizer.

        Args:
            name_or_path: a folder or a name on the Hub.
            precision: "fp32", "bf16" or "auto".
            device: where it runs; default: a GPU if there is one.
            device_map, quantise: not supported.

        Raises:
            ModelError: it, or one of its parts, cannot be found or loaded.
            UsageError: an option that it does not support.
        """
        if device_map is not None or quantise is not None:
            raise UsageError(f"{name_or_path}: CLIP-T5 runs on one device without quantization; omit the option")
        target = choose_device(device)
        dtype = choose_dtype(precision, target)
        folder = find_checkpoint(name_or_path)
        try:
            with refuse_code(name_or_path):
                model = ClipT5.from_pretrained(folder, dtype=dtype, trust_remote_code=False)
                tower_folder = find_checkpoint(model.config.mm_vision_tower)
                tower = CLIPVisionModel.from_pretrained(tower_folder, dtype=dtype, trust_remote_code=False)
                images = AutoImageProcessor.from_pretrained(tower_folder, backend="pil", trust_remote_code=False)
                words = _tokenizer_folder(folder, model.config.d_model)
                tokenizer = AutoTokenizer.from_pretrained(words, trust_remote_code=False)
        except (OSError, ValueError, ImportError, RuntimeError, AttributeError) as error:
            raise ModelError(f"{name_or_path}: cannot be loaded as CLIP-T5 ({error})") from error
        return cls(model.to(target), tower.to(target), tokenizer, images, str(name_or_path))

    def pair_log_probabilities(self, images: Sequence[Any], texts: Sequence[str], question: Question | None) -> Tensor:
        """See `FigureJudge`."""
        device = self.model.device
        patches = self._patches(images)
        rows = [self._embed(judge_prompt(KIND, text, question), patches[i]) for i, text in enumerate(texts)]
        numbers, mask = pad([torch.arange(1, len(row) + 1) for row in rows], "right", device)
        embeds = rows[0].new_zeros(len(rows), numbers.shape[1], rows[0].shape[1])
        for i, row in enumerate(rows):
            embeds[i, : len(row)] = row
        start = torch.full((len(rows), 1), self.model.config.decoder_start_token_id, device=device)
        logits = self.model(inputs_embeds=embeds, attention_mask=mask, decoder_input_ids=start).logits[:, 0]
        return read_yes(logits, answers_of(self.tokenizer, question))

    def fingerprint(self) -> str:
        """Return a hash of weights and prompt."""
        return hashlib.sha256(f"{judge_prompt(KIND, 'x', None)} {self._weights_hash}".encode()).hexdigest()

    def _embed(self, prompt: str, patches: Tensor) -> Tensor:
        """Return the embeddings of a prompt with patches (P, d) in the place of `<image>`.

        As published, each side of the image is tokenized by itself, and ends with an end token.
        """
        before, after = (
            torch.tensor(self.tokenizer(side).input_ids, device=patches.device) for side in prompt.split(IMAGE)
        )
        words = self.model.get_input_embeddings()
        return torch.cat([words(before), patches, words(after)])[:LENGTH]

    def _patches(self, images: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """Return the patches of n images in FlanT5's space, (n, P, d); equal images are encoded once."""
        distinct = list({id(image): image for image in images}.values())
        places = {id(image): number for number, image in enumerate(distinct)}
        mean = [int(255 * value) for value in self.image_processor.image_mean]
        squares = [pad_to_square(image, mean) for image in distinct]
        pixels = self.image_processor(squares, return_tensors="pt")["pixel_values"].to(
            self.model.device, self.tower.dtype
        )
        hidden = self.tower(pixels, output_hidden_states=True).hidden_states[self.layer]
        kept = hidden[:, 1:] if getattr(self.model.config, "mm_vision_select_feature", "patch") == "patch" else hidden
        return self.model.mm_projector(kept)[[places[id(image)] for image in images]]

    @cached_property
    def _weights_hash(self) -> str:
        parts = {"t5": self.model, "tower": self.tower}
        weights = {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}
        return hash_weights(weights)


def pad_to_square(image: npt.NDArray[np.uint8], color: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Return an image (H, W, 3) in the middle of a square of a color.

    >>> pad_to_square(np.zeros((2, 4, 3), np.uint8), [9, 9, 9])[:, 0, 0].tolist()
    [9, 0, 0, 9]
    """
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = np.asarray(color, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def _tokenizer_folder(folder: Path, width: int) -> Path:
    if any((folder / name).is_file() for name in ("tokenizer.json", "spiece.model")):
        return folder
    if width not in TOKENIZERS:
        raise ModelError(f"{folder}: has no tokenizer; put FlanT5's tokenizer.json into this folder")
    return find_checkpoint(TOKENIZERS[width])
