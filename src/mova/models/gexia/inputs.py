"""Input adapter of GEXIA.

Shape legend: V pairs or videos, d width, Y classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mova.data.batch import InputAdapter, PairBatch, PairVectors
from mova.data.granularity import GRANULARITIES, LengthRule
from mova.errors import UsageError
from mova.models.families import input_adapter as backbone_adapter
from mova.models.gexia.config import GexiaConfig
from mova.models.gexia.model import Gexia
from mova.types import Pixels


def input_adapter(model: Gexia, stored: bool) -> InputAdapter:
    """Return the adapter of a model.

    Raises:
        UsageError: stored vectors are read.
    """
    if stored:
        raise UsageError(
            "data.features: GEXIA reads patches, but a feature store has one vector per frame; omit data.features"
        )
    return GexiaInputs(backbone_adapter(model.backbone), model.config)


class GexiaInputs(InputAdapter):
    """Inputs of a GEXIA: those of its backbone, and how often each video and text is approximated.

    Args:
        inner: the backbone's adapter.
        config: defines `#iter` by granularity.
    """

    def __init__(self, inner: InputAdapter, config: GexiaConfig) -> None:
        self.inner, self.config = inner, config

    def resize(self, pixels: Pixels) -> Pixels:
        """Resize and crop as the backbone does."""
        return self.inner.resize(pixels)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokenize as the backbone does."""
        return self.inner.tokenize(texts)

    def image_arguments(self, frames: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return `images`: the backbone's input for all real frames."""
        (images,) = self.inner.image_arguments(frames, mask).values()
        return {"images": images}

    def granularities(self, names: Sequence[str], count: int) -> dict[str, Tensor]:
        """Return `video_rounds`, `text_rounds` and `granularity` (index into `GRANULARITIES`), each int64 (V,).

        Raises:
            UsageError: pairs without a granularity.
        """
        if len(names) != count:
            raise UsageError("GEXIA trains on pairs of known granularity; name the granularities in data.granularities")
        video, text = zip(*map(self.config.rounds_of, names), strict=True)
        index = [list(GRANULARITIES).index(name) for name in names]
        values = {"video_rounds": video, "text_rounds": text, "granularity": index}
        return {name: torch.tensor(value) for name, value in values.items()}

    @property
    def lengths(self) -> LengthRule:
        """Those of the model's configuration."""
        return self.config.lengths

    def adapt_to_granularities(self, model: nn.Module, frames: Mapping[str, int]) -> bool:
        """Write the numbers of frames to the model's configuration, for inference, and freeze its head.

        Pairs do not pass through the head, and processes would wait for its gradients.

        Returns:
            Whether some batches skip the shared block, because their `#iter` is 0.
        """
        assert isinstance(model, Gexia)
        model.config.follow(frames)
        if model.head is not None:
            model.head.requires_grad_(False)
        return any(0 in model.config.rounds_of(name) for name in frames)

    def encode(self, model: nn.Module, batch: PairBatch) -> PairVectors:
        """Run the model; a video has one vector, so `frames` is (V, 1, d), and no `tokens` are returned.

        Raises:
            UsageError: the objective reads units.
        """
        if batch.unit_mask is not None:
            raise UsageError("GEXIA has one vector per video and text; train it with objective vtc")
        video_rounds, text_rounds, granularity = batch.rounds()
        outputs = model(
            **self.image_arguments(batch.frames, batch.frame_mask),
            frame_mask=batch.frame_mask,
            video_rounds=video_rounds,
            input_ids=batch.input_ids,
            attention_mask=batch.token_mask,
            text_rounds=text_rounds,
            granularity=granularity[0],  # batches of training are of one
        )
        frames = outputs["videos"].unsqueeze(1)
        real = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
        return PairVectors(frames, real, outputs["texts"], batch.group, outputs["scale"])

    def encode_videos(self, model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `logits` (V, Y) of videos without texts."""
        arguments = self.image_arguments(batch["frames"], batch["frame_mask"])
        outputs = model(**arguments, frame_mask=batch["frame_mask"], video_rounds=batch["video_rounds"])
        return {"logits": outputs["logits"]}
