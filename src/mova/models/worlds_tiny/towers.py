"""The two towers of the small model for Worlds, and their configuration.

Shape legend: T frames, h = w input pixels, P patches, N texts, L words, D tower width, d shared width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from mova.models.layers.attention import Block

STACK = 3
"""Frames per stack: the previous frame, the frame itself, the next frame."""


class WorldsTinyConfig(PreTrainedConfig):
    """Sizes of both towers, vocabulary, and settings measured in validation.

    Attributes:
        vocabulary: whole words, in the order of their ids (0 is padding, 1 any other word).
        factors: name -> number of values, for the auxiliary heads.
        image_size: side of the square input in pixels.
        stem: channels of the stages that see all three frames at once; each halves the side.
        appearance: channels of as many stages that see the middle frame alone; none if empty. What moves lies at three
            places of a stack, where its outline is hard to read.
        relevance_threshold, background: see `DualEncoder`.
        units, rule: `UnitRule` and `EvidenceRule` as dictionaries; None is the default.
        alignment: `AlignmentWeights` as a dictionary; None: those of mova-worlds-tiny.
    """

    model_type = "mova-worlds-tiny"

    def __init__(
        self,
        vocabulary: Sequence[str] = ("<pad>", "<unk>"),
        factors: dict[str, int] | None = None,
        image_size: int = 64,
        stem: Sequence[int] = (32, 64, 128),
        appearance: Sequence[int] = (),
        hidden_size: int = 128,
        frame_layers: int = 3,
        text_layers: int = 2,
        heads: int = 4,
        embedding_dim: int = 192,
        max_words: int = 48,
        frame_rate: float = 2.0,
        relevance_threshold: float | None = None,
        background: Sequence[str] = (),
        units: dict[str, int] | None = None,
        rule: dict[str, float | None] | None = None,
        alignment: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.vocabulary = list(vocabulary)
        self.factors = dict(factors or {})
        self.image_size = image_size
        self.stem = list(stem)
        self.appearance = list(appearance)
        self.hidden_size = hidden_size
        self.frame_layers = frame_layers
        self.text_layers = text_layers
        self.heads = heads
        self.embedding_dim = embedding_dim
        self.max_words = max_words
        self.frame_rate = frame_rate
        self.relevance_threshold = relevance_threshold
        self.background = list(background)
        self.units = units
        self.rule = rule
        self.alignment = alignment
        super().__init__(**kwargs)


def word_tokenizer(vocabulary: Sequence[str], max_words: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer into lower-case whole words, without punctuation.

    `vocabulary[0]` is the padding, `vocabulary[1]` any other word.

    >>> word_tokenizer(["<pad>", "<unk>", "red", "star"], 8)("A red star!")["input_ids"]
    [1, 2, 3]
    """
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=vocabulary[1]))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Split(Regex("[^a-z]+"), behavior="removed")
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=vocabulary[0], unk_token=vocabulary[1], model_max_length=max_words
    )


class Residual(nn.Module):
    """Two convolutions around which the input passes, (T, C, h, w) -> the same; the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
        )
        self.scale = nn.BatchNorm2d(width)
        nn.init.zeros_(self.scale.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input and what the convolutions add to it, without negative values."""
        return torch.relu(x + self.scale(self.inner(x)))


class Appearance(nn.Module):
    """The middle frames (T, 3, h, w) -> what is added to the patches (T, P, D) and to the vectors (T, d).

    Both are zero before training, so that a trained tower can be given one.
    """

    def __init__(self, config: WorldsTinyConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for i, width in enumerate(config.appearance):
            layers += [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            if i < len(config.appearance) - 1:
                layers.append(Residual(width))
            channels = width
        self.stem = nn.Sequential(*layers)
        self.enter = nn.Linear(channels, config.hidden_size)
        self.norm = nn.LayerNorm(2 * channels)
        self.project = nn.Linear(2 * channels, config.embedding_dim)
        for layer in (self.enter, self.project):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, middle: Tensor) -> tuple[Tensor, Tensor]:
        """Return (T, P, D) and (T, d)."""
        patches = self.stem(middle.contiguous(memory_format=torch.channels_last)).flatten(2)
        pooled = torch.cat([patches.amax(-1), patches.mean(-1)], dim=-1)
        return self.enter(patches.transpose(1, 2)), self.project(self.norm(pooled))


class FrameTower(nn.Module):
    """(T, 9, h, w) stacked frames in [-1, 1] -> (T, d)."""

    def __init__(self, config: WorldsTinyConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3 * STACK
        for i, width in enumerate(config.stem):
            layers += [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            if 0 < i < len(config.stem) - 1:
                layers += [nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.stem = nn.Sequential(*layers)
        self.enter = nn.Linear(channels, config.hidden_size)
        patches = (config.image_size // 2 ** len(config.stem)) ** 2
        self.cls = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.positions = nn.Parameter(0.02 * torch.randn(1, patches + 1, config.hidden_size))
        self.blocks = nn.ModuleList(Block(config.hidden_size, config.heads) for _ in range(config.frame_layers))
        self.norm = nn.LayerNorm(2 * config.hidden_size)
        self.project = nn.Linear(2 * config.hidden_size, config.embedding_dim)
        self.appearance = Appearance(config) if config.appearance else None

    def forward(self, stacks: Tensor) -> Tensor:
        """Encode stacks (T, 9, h, w) to vectors (T, d)."""
        x, seen = self._states(stacks)
        vectors: Tensor = self.project(self.norm(torch.cat([x[:, 0], x[:, 1:].mean(1)], dim=-1)))
        return vectors if seen is None else vectors + seen

    def states(self, stacks: Tensor) -> Tensor:
        """Encode stacks (T, 9, h, w) to states of the last block (T, 1 + P, D), the class token first."""
        return self._states(stacks)[0]

    def _states(self, stacks: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the states, and what the middle frame adds to the vectors (T, d) if its appearance is read."""
        x = self.enter(self.stem(stacks.contiguous(memory_format=torch.channels_last)).flatten(2).transpose(1, 2))
        seen = None
        if self.appearance is not None:
            middle = 3 * (STACK // 2)
            patches, seen = self.appearance(stacks[:, middle : middle + 3])
            x = x + patches
        x = torch.cat([self.cls.to(x.dtype).expand(len(x), -1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return x, seen


class TextTower(nn.Module):
    """(N, L) word ids -> token states (N, L, d), already projected; their masked mean is the text's vector."""

    def __init__(self, config: WorldsTinyConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(len(config.vocabulary), config.hidden_size)
        self.positions = nn.Parameter(0.02 * torch.randn(1, config.max_words, config.hidden_size))
        self.blocks = nn.ModuleList(Block(config.hidden_size, config.heads) for _ in range(config.text_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.project = nn.Linear(config.hidden_size, config.embedding_dim)

    def forward(self, ids: Tensor, mask: Tensor, log_weights: Tensor | None = None) -> Tensor:
        """Encode ids and mask (N, L) to (N, L, d).

        `log_weights` (N, L) are added to the attention scores of each word.
        """
        return self.project(self.norm(self.states(ids, mask, log_weights)))

    def states(self, ids: Tensor, mask: Tensor, log_weights: Tensor | None = None) -> Tensor:
        """Return the states of the last block (N, L, D); arguments as for `forward`."""
        x = self.words(ids) + self.positions[:, : ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask, log_weights)
        return x
