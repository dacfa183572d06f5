"""The text side of the arms: which encoder reads a prompt, how many words of it, and what each frame may read.

The text tower is that of the shipped Worlds model. Its position table of 48 words plays the part of the 248 tokens,
and its first 15 rows (77 of 248) that of CLIP's table; stretching follows Long-CLIP's rule, with 4 rows kept (20 of
77). MoVA's encoder starts from the stretched tower and is trained with the subset form.

Shape legend: N clips, K sentences, T frames per clip, L words, E events, F frames per event, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import set_seed

from benchmarks.common.fitting import BACKBONE_RATE, MODULE_RATE, fit
from benchmarks.common.samples import SampleInputs
from benchmarks.studies.guide.clips import FRAMES, MOST_WORDS, SENTENCES, Clips, Pool, draw_clips
from benchmarks.studies.guide.generator import CLIP_FRAMES, Conditions
from mova.data.batch import PairBatch
from mova.models.mova.model import Mova
from mova.models.two_tower.text_processor import stretch_positions
from mova.models.worlds_tiny.model import WorldsTiny, shipped_folder
from mova.train.objectives.mova import MovaObjective
from mova.train.trainer import TrainingData
from mova.worlds.captions import words

LIMIT, KEPT = 15, 4
"""Words that the plain encoder reads (77 / 248 of 48), and rows of its table that stretching keeps (20 / 77 of 15)."""
BATCH = 16
"""Clips per batch of MoVA's training."""

Encoder = Literal["plain", "stretched", "mova"]
Reading = Literal["whole", "masks", "order"]


@dataclass(frozen=True)
class Arm:
    """The text side of a generator.

    Attributes:
        encoder: "plain" (reads 15 words), "stretched" (the same, 48 words, not trained further) or "mova".
        reading: what a frame may read: the "whole" text, the sentence that MoVA's masks select ("masks"), or the
            sentence whose turn it is if all take equally long ("order").
    """

    encoder: Encoder
    reading: Reading = "whole"


CUT, STRETCHED, MOVA, SUBSETS, ORDER = "cut", "stretched", "MoVA, whole text", "MoVA, subsets", "stretched, in order"
ARMS: dict[str, Arm] = {
    CUT: Arm("plain"),
    STRETCHED: Arm("stretched"),
    MOVA: Arm("mova"),
    SUBSETS: Arm("mova", "masks"),
    ORDER: Arm("stretched", "order"),
}


def tower(limit: int | None = None) -> WorldsTiny:
    """Return the shipped model with the cut table of positions, or with that one stretched."""
    model = WorldsTiny.from_pretrained(shipped_folder()).float()
    table = model.text_tower.positions.detach()[0, :LIMIT]
    if limit is None:
        table = stretch_positions(table, MOST_WORDS, KEPT)
    model.text_tower.positions = nn.Parameter(table[None].clone())
    model.config.max_words = len(table)
    return model.eval()


class TrainingClips(Dataset[dict[str, Tensor]]):
    """Batches of clips with their prompts, for MoVA's objective; item i depends only on the seed and i."""

    def __init__(self, pool: Pool, seed: int, steps: int, tokenizer: Any) -> None:
        self.pool, self.seed, self.steps, self.tokenizer = pool, seed, steps, tokenizer

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return a batch with the keys of `mova.worlds.galleries.WorldsPairs`."""
        if index >= self.steps:
            raise IndexError(index)
        clips = draw_clips(np.random.default_rng([self.seed, index]), self.pool, BATCH)
        units = [self._ids(prompt) for prompt in clips.sentences]
        most = max(rows.shape[1] for rows in units)
        unit_ids = torch.stack([F.pad(rows, (0, most - rows.shape[1])) for rows in units])
        input_ids = self._ids(clips.prompts)
        stacks = torch.from_numpy(self.pool.stacks[clips.events]).flatten(1, 2)
        return {
            "frames": stacks,
            "frame_mask": torch.ones(BATCH, CLIP_FRAMES, dtype=torch.bool),
            "input_ids": input_ids,
            "token_mask": input_ids > 0,
            "unit_ids": unit_ids,
            "unit_token_mask": unit_ids > 0,
            "unit_mask": torch.ones(BATCH, SENTENCES, dtype=torch.bool),
            "group": torch.arange(BATCH),
            "dropped": torch.zeros(BATCH, dtype=torch.int64),
        }

    def _ids(self, texts: Sequence[str]) -> Tensor:
        rows = self.tokenizer(list(texts), padding=True, return_tensors="pt", verbose=False)["input_ids"]
        return cast(Tensor, rows)


def train_mova(pool: Pool, seed: int, steps: int, folder: Path) -> Mova:
    """Train a MoVA in the subset form around the stretched tower, on clips of the generator's training events."""
    set_seed(seed)
    backbone = tower()
    model = Mova.from_backbone(backbone, "subsets")
    adapter = SampleInputs(backbone.config.image_size, backbone.tokenizer)
    source = TrainingClips(pool, seed, steps, backbone.tokenizer)
    data = TrainingData(source, lambda items: PairBatch(**items[0]), adapter.encode)
    return cast(Mova, fit(model, MovaObjective("subsets"), data, folder, seed, MODULE_RATE, BACKBONE_RATE))


@torch.no_grad()
def read_texts(model: WorldsTiny, clips: Clips) -> tuple[Tensor, Tensor]:
    """Encode prompts in one pass each: token states (N, L, d), and which are words, (N, L)."""
    ids, mask, _ = model.token_ids(clips.prompts)
    longer = MOST_WORDS - ids.shape[1]
    states = [model.text_tower(*part) for part in zip(ids.split(256), mask.split(256), strict=True)]
    return F.pad(torch.cat(states).float(), (0, 0, 0, longer)), F.pad(mask, (0, longer))


def sentence_of_words(clips: Clips) -> Tensor:
    """Return the sentence that each word of a prompt belongs to, (N, L); words past the end count to the last one."""
    lengths = torch.tensor([[len(words(sentence)) for sentence in prompt] for prompt in clips.sentences])
    ends = lengths.cumsum(dim=1)[:, None, :-1]
    return (torch.arange(MOST_WORDS)[None, :, None] >= ends).sum(dim=2)


def in_order(count: int) -> Tensor:
    """Return the selected sentence of each frame if all take equally long, (count, T)."""
    return torch.arange(SENTENCES).repeat_interleave(FRAMES).expand(count, -1)


@torch.no_grad()
def mask_weights(model: Mova, pool: Pool, clips: Clips) -> Tensor:
    """Return the weights that MoVA's masks give to the sentences of a clip, for each of its frames: (N, T, K)."""
    stacks = torch.from_numpy(pool.stacks).flatten(0, 1)
    vectors = torch.cat([model.backbone.image_features(part) for part in stacks.split(256)])
    frames = vectors.view(len(pool.facts), FRAMES, -1)[torch.from_numpy(clips.events)].flatten(1, 2)
    flat = model.encode_text([sentence for prompt in clips.sentences for sentence in prompt]).pooled
    units = flat.view(len(clips.events), SENTENCES, -1)
    return torch.stack([model.unit_weights(*pair)[:, :-1] for pair in zip(frames, units, strict=True)])


def conditions(states: tuple[Tensor, Tensor], clips: Clips, selected: Tensor | None) -> Conditions:
    """Return what the generator reads: all words in all frames, or those of each frame's selected sentence (N, T)."""
    tokens, real = states
    opened = real[:, None].expand(-1, CLIP_FRAMES, -1)
    if selected is not None:
        opened = opened & (sentence_of_words(clips)[:, None] == selected[..., None])
    return Conditions(tokens, opened)
