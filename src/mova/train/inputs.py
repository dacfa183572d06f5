"""How a model is fed with pairs: pixels and tokens where data are read, vectors of a batch where it is trained.

Frames are resized and cropped by the model's own rule in the workers that decode them: then a batch has one size, and
what travels to the trainer is uint8 of the model's size, not full pictures or floats. Normalising, which makes it four
times larger, waits until it is on the model's device. Padded frames and units are never encoded. Where frame vectors
are stored (`data/feature_store.py`), those travel instead, and the video tower is not run.

Shape legend: V pairs, T frames, n real frames of a batch, H W source pixels, h w model pixels, U real units, d width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mova.data.batch import BrokenVideo, Pair, PairBatch, PairVectors
from mova.data.dataset import collate
from mova.data.granularity import GRANULARITIES
from mova.errors import UsageError
from mova.models.gexia.config import GexiaConfig
from mova.models.gexia.model import Gexia
from mova.models.two_tower.image_processor import ImageRule
from mova.models.two_tower.model import TwoTower
from mova.models.two_tower.text_processor import TextRule
from mova.models.worlds_tiny.model import WorldsTiny, centre_square
from mova.types import Pixels


class Feed(ABC):
    """The input side of one kind of model; holds no weights, so that it can go to worker processes."""

    @abstractmethod
    def shape(self, pixels: Pixels) -> Pixels:
        """uint8 (T, H, W, 3) -> uint8 (T, h, w, 3), the model's size."""

    @abstractmethod
    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids int64 (N, L) and mask bool (N, L), padded to the longest text; tokens cut off of each, int64 (N,)."""

    @abstractmethod
    def images(self, frames: Tensor, mask: Tensor) -> dict[str, Any]:
        """uint8 (V, T, h, w, 3) and bool (V, T) -> the model's keyword argument of all n real frames, row by row."""

    def granularities(self, names: Sequence[str], count: int) -> dict[str, Tensor]:
        """Fields of `PairBatch` that depend on the granularity of each of the `count` pairs; most models have none."""
        return {}

    def encode(self, model: nn.Module, batch: PairBatch) -> PairVectors:
        """Run the model on a batch of pairs."""
        arguments = self.images(batch.frames, batch.frame_mask)
        arguments |= {"input_ids": batch.input_ids, "attention_mask": batch.token_mask}
        if batch.unit_mask is not None:
            unit_ids, unit_token_mask, real = batch.units()
            ids, mask = unit_ids[real], unit_token_mask[real]
            longest = slice(int(mask.sum(dim=1).max()) if self.cuts_padding else None)
            arguments |= {"unit_ids": ids[:, longest], "unit_mask": mask[:, longest]}
        found = model(**arguments)
        units, unit_mask = None, batch.unit_mask
        if "unit_mask" in found:
            units, unit_mask = found["units"], found["unit_mask"]
        elif unit_mask is not None:
            units = _spread(found["units"], unit_mask)
        return PairVectors(
            frames=_spread(found["frames"], batch.frame_mask),
            frame_mask=batch.frame_mask,
            texts=found["texts"],
            group=batch.group,
            scale=found["scale"].reshape(()),
            tokens=found["tokens"],
            token_mask=batch.token_mask,
            units=units,
            unit_mask=unit_mask,
        )

    pictures: str
    """Name of the model's keyword argument that `images` gives."""
    cuts_padding: bool = True
    """Whether a narrower rectangle of ids means the same (not where padding takes part in attention)."""


@dataclass(frozen=True)
class Collator:
    """Pairs -> tensors of a batch."""

    feed: Feed
    units: bool

    def __call__(self, items: Sequence[Pair | BrokenVideo]) -> PairBatch:
        """Pad, tokenize, and list the videos that could not be read."""
        batch = collate(items)
        ids, mask, dropped = self.feed.tokens(batch.texts)
        return PairBatch(
            frames=torch.from_numpy(batch.frames),
            frame_mask=torch.from_numpy(batch.frame_mask),
            input_ids=ids,
            token_mask=mask,
            group=torch.from_numpy(batch.groups),
            dropped=dropped,
            broken=batch.broken,
            **self.feed.granularities(batch.granularities, len(batch)),
            **(self._units(batch.units) if self.units else {}),
        )

    def _units(self, texts: Sequence[Sequence[str]]) -> dict[str, Tensor]:
        """`unit_ids`, `unit_token_mask` and `unit_mask` of the units of each text."""
        real = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.bool)
        for row, units in zip(real, texts, strict=True):
            row[: len(units)] = True
        ids, mask, _ = self.feed.tokens([unit for units in texts for unit in units])
        return {"unit_ids": _spread(ids, real), "unit_token_mask": _spread(mask, real), "unit_mask": real}


class TwoTowerFeed(Feed):
    """For a dual encoder of transformers, by its checkpoint's own rules."""

    pictures = "pixels"

    def __init__(self, image: ImageRule, text: TextRule, tokenizer: Any) -> None:
        self.image, self.text, self.tokenizer = image, text, tokenizer
        self.cuts_padding = not text.fixed

    def shape(self, pixels: Pixels) -> Pixels:
        """As inference does it."""
        return self.image.shape(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """By the checkpoint's rule."""
        rows, dropped = self.text.token_ids(self.tokenizer, texts)
        ids, mask = self.text.pad(rows, self.tokenizer.pad_token_id or 0, self.tokenizer.padding_side)
        return ids, mask, torch.tensor(dropped)

    def images(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """`pixels`, float32 (n, 3, h, w)."""
        return {self.pictures: self.image.normalise(frames[mask], torch.float32)}


class WorldsTinyFeed(Feed):
    """For the small model of Worlds: a frame comes with its neighbours; ends are repeated."""

    pictures = "stacks"

    def __init__(self, size: int, tokenizer: Any) -> None:
        self.size, self.tokenizer = size, tokenizer

    def shape(self, pixels: Pixels) -> Pixels:
        """As inference does it."""
        frames = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
        return centre_square(frames, self.size).permute(0, 2, 3, 1).contiguous().numpy()

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Whole words; a text without any word is one unknown word."""
        rule = TextRule(self.tokenizer.model_max_length)
        rows, dropped = rule.token_ids(self.tokenizer, texts)
        full = [row or [self.tokenizer.unk_token_id] for row in rows]
        return *rule.pad(full, self.tokenizer.pad_token_id, "right"), torch.tensor(dropped)

    def images(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """`stacks`, uint8 (n, 9, h, w)."""
        video, at = mask.nonzero(as_tuple=True)
        last = mask.sum(dim=1)[video] - 1
        around = torch.stack([(at - 1).clamp(min=0), at, torch.minimum(at + 1, last)], dim=1)
        stacks = frames[video[:, None], around]
        return {self.pictures: stacks.permute(0, 1, 4, 2, 3).flatten(1, 2).contiguous()}


class StoredFeed(Feed):
    """For stored frame vectors: texts as another feed reads them, and no pixels."""

    def __init__(self, feed: Feed) -> None:
        self.feed, self.pictures, self.cuts_padding = feed, feed.pictures, feed.cuts_padding

    def shape(self, pixels: Pixels) -> Pixels:
        """Never asked for.

        Raises:
            UsageError: always.
        """
        raise UsageError("stored frame vectors are read, not pixels")

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """As the other feed."""
        return self.feed.tokens(texts)

    def images(self, frames: Tensor, mask: Tensor) -> dict[str, Any]:
        """`frames`, float32 (n, d), and None for pictures; `frames` of the batch are (V, T, d)."""
        return {self.pictures: None, "frames": frames[mask].float()}


class GexiaFeed(Feed):
    """For GEXIA: the input side of its backbone, and how often each video and text is approximated.

    Args:
        inner: of the backbone.
        config: says `#iter` by granularity.
    """

    def __init__(self, inner: Feed, config: GexiaConfig) -> None:
        self.inner, self.config = inner, config

    def shape(self, pixels: Pixels) -> Pixels:
        """As the backbone."""
        return self.inner.shape(pixels)

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """As the backbone."""
        return self.inner.tokens(texts)

    def images(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """`images`: what the backbone takes of all real frames."""
        (images,) = self.inner.images(frames, mask).values()
        return {"images": images}

    def granularities(self, names: Sequence[str], count: int) -> dict[str, Tensor]:
        """`video_rounds`, `text_rounds` and `granularity` (index into `GRANULARITIES`), each int64 (V,).

        Raises:
            UsageError: pairs do not say their granularity.
        """
        if len(names) != count:
            raise UsageError("GEXIA learns from pairs of known granularity: name them in data.granularities")
        video, text = zip(*map(self.config.rounds_of, names), strict=True)
        index = [list(GRANULARITIES).index(name) for name in names]
        values = {"video_rounds": video, "text_rounds": text, "granularity": index}
        return {name: torch.tensor(value) for name, value in values.items()}

    def encode(self, model: nn.Module, batch: PairBatch) -> PairVectors:
        """Run the model; a video has one vector, so `frames` is (V, 1, d), and no `tokens` are returned.

        Raises:
            UsageError: the objective reads units.
        """
        if batch.unit_mask is not None:
            raise UsageError("GEXIA has one vector a video and text: train it with objective vtc")
        video_rounds, text_rounds, granularity = batch.rounds()
        found = model(
            **self.images(batch.frames, batch.frame_mask),
            frame_mask=batch.frame_mask,
            video_rounds=video_rounds,
            input_ids=batch.input_ids,
            attention_mask=batch.token_mask,
            text_rounds=text_rounds,
            granularity=granularity[0],  # batches of training are of one
        )
        frames = found["videos"].unsqueeze(1)
        real = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        return PairVectors(frames, real, found["texts"], batch.group, found["scale"])

    def encode_videos(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`logits` (V, Y) of videos without texts."""
        arguments = self.images(batch["frames"], batch["frame_mask"])
        found = model(**arguments, frame_mask=batch["frame_mask"], video_rounds=batch["video_rounds"])
        return {"logits": found["logits"]}


def feed_for(model: nn.Module, stored: bool = False) -> Feed:
    """The input side of a model, or of the backbone inside it; `stored`: for frame vectors instead of pixels.

    Raises:
        UsageError: a model that cannot be trained on pairs.
    """
    backbone = getattr(model, "backbone", None)
    if isinstance(model, TwoTower):
        if not stored and model.image_rule.resize in ("patches", "none") and model.image_rule.crop is None:
            raise UsageError(
                f"{model.name}: keeps each video's own proportions, so frames of one batch differ in size; "
                "train a checkpoint with a fixed image size"
            )
        feed: Feed = TwoTowerFeed(model.image_rule, model.text_rule, model.tokenizer)
        return StoredFeed(feed) if stored else feed
    if isinstance(model, WorldsTiny):
        feed = WorldsTinyFeed(model.config.image_size, model.tokenizer)
        return StoredFeed(feed) if stored else feed
    if isinstance(model, Gexia):
        if stored:
            raise UsageError("data.features: GEXIA reads patches, and a store holds one vector a frame")
        return GexiaFeed(feed_for(model.backbone), model.config)
    if isinstance(backbone, nn.Module):
        return feed_for(backbone, stored)
    raise UsageError(f"{type(model).__name__} cannot be trained on pairs of video and text")


def _spread(rows: Tensor, mask: Tensor) -> Tensor:
    """Rows (n, ...) to their places in (V, T, ...), zeros elsewhere; `mask` bool (V, T) has n true entries."""
    spread = rows.new_zeros((*mask.shape, *rows.shape[1:]))
    return spread.index_put((mask,), rows)
