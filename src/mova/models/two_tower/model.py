"""Two-tower models of transformers: any checkpoint with image and text features (CLIP, SigLIP, SigLIP 2, ...).

A checkpoint is read in the Hub's layout with its own preprocessing and tokenizer, and saved and loaded in ours
(configuration, safetensors, tokenizer and model card in one folder). Nothing is L2-normalized here.

Shape legend: T frames, h w model input pixels, N texts, L tokens, d shared width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mova.models.two_tower.checkpoint_encoder import CheckpointEncoder
from mova.models.two_tower.image_tower import ImageTower, current_tower
from mova.types import Frames, Pixels

FRAME_BATCH = 64


class TwoTower(CheckpointEncoder):
    """A dual encoder of transformers with the interface of `DualEncoder`.

    `from_checkpoint` reads a checkpoint of the Hub; `save_pretrained` and `from_pretrained` use mova's folder format.
    `encode_*` run without gradients; `image_features`, `text_features` and `forward` are differentiable.

    >>> from mova.models.tiny_checkpoint import write_tiny_clip
    >>> model = TwoTower.from_checkpoint(write_tiny_clip("tiny-clip", ["a dog runs"]))  # random weights
    >>> model.encode_video("film.mp4").frames.shape, model.encode_text("a dog").pooled.shape
    (torch.Size([10, 24]), torch.Size([1, 24]))
    """

    image_tower: ImageTower | None = None
    """An exported image tower, which `encode_frames` uses as long as no weight changes."""

    def image_features(self, pixels: Tensor) -> Tensor:
        """Encode normalized pixels: (T, 3, h, w) -> (T, d) float32; gradients flow."""
        return self._run_image_tower(pixels).pooler_output.float()

    def dense_images(self, pixels: Tensor) -> Tensor:
        """Encode normalized pixels (T, 3, h, w) to states of the last layer (T, P, C), float32; gradients flow.

        A class token, if any, comes first.
        """
        return self._run_image_tower(pixels).last_hidden_state.float()

    def dense_texts(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Encode ids and mask (N, L) to states of the last layer (N, L, C), float32, not projected; gradients flow."""
        attention = {} if self.text_rule.fixed else {"attention_mask": mask.long()}
        return self.backbone.get_text_features(input_ids=input_ids, **attention).last_hidden_state.float()

    @property
    def dense_widths(self) -> tuple[int, int]:
        """Widths C of `dense_images` and of `dense_texts`."""
        config = self.backbone.config
        return config.vision_config.hidden_size, config.text_config.hidden_size

    @property
    def has_class_token(self) -> bool:
        """Whether the first of `dense_images` is a class token."""
        return hasattr(self.towers[0].embeddings, "class_embedding")

    @property
    def towers(self) -> tuple[nn.Module, nn.Module]:
        """The image tower and the text tower."""
        return self.backbone.vision_model, self.backbone.text_model

    @property
    def pooling_modules(self) -> list[nn.Module]:
        """Parts of the towers that dense states do not pass, because they pool to one vector."""
        images, texts = self.backbone.vision_model, self.backbone.text_model
        pool = images.head if hasattr(images, "head") else images.post_layernorm  # CLIP's norm is of its class token
        return [pool, texts.head] if hasattr(texts, "head") else [pool]

    def _run_image_tower(self, pixels: Tensor) -> Any:
        """Run the image tower on normalized pixels (T, 3, h, w)."""
        pixels = pixels.to(self.compute_dtype)
        if self.image_rule.resize != "patches":
            return self.backbone.get_image_features(pixel_values=pixels)
        patch = self.image_rule.patch
        rows, columns = pixels.shape[-2] // patch, pixels.shape[-1] // patch
        cut = pixels.unflatten(3, (columns, patch)).unflatten(2, (rows, patch))
        patches = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        shapes = torch.tensor([[rows, columns]], device=pixels.device).expand(len(pixels), 2)
        mask = torch.ones(patches.shape[:2], dtype=torch.int32, device=pixels.device)
        return self.backbone.get_image_features(pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes)

    @torch.no_grad()
    def encode_frames(self, frames: Frames) -> Tensor:
        """Encode frames of any size, each on its own: (T, d), float32."""
        if not len(frames):
            return torch.empty(0, self.embedding_dim, device=self.device)
        tower = current_tower(self)
        if tower is not None:
            return torch.cat([self.by_export(tower, pixels) for pixels in self._batches(frames, torch.float32)])
        return torch.cat([self.image_features(pixels) for pixels in self.image_batches(frames)])

    def tower_input(self, pixels: Pixels) -> Tensor:
        """Return the image tower's input for frames of one size: uint8 (T, H, W, 3) -> float32 (T, 3, h, w)."""
        return self.image_rule.apply(pixels, self.device, torch.float32)

    def by_torch(self, pixels: Tensor) -> Tensor:
        """Encode the tower's input (T, 3, h, w) by PyTorch: (T, d), float32."""
        return self.image_features(pixels.to(self.compute_dtype))

    def by_export(self, tower: ImageTower, pixels: Tensor) -> Tensor:
        """Encode the tower's input (T, 3, h, w) by an exported tower: (T, d), float32."""
        return tower(pixels)

    def image_batches(self, frames: Frames) -> Iterator[Tensor]:
        """Yield the image tower's input for consecutive frames, (T, 3, h, w), in batches."""
        return self._batches(frames, self.compute_dtype)

    def _batches(self, frames: Frames, dtype: torch.dtype) -> Iterator[Tensor]:
        for start in range(0, len(frames), FRAME_BATCH):
            yield self.image_rule.apply(frames.pixels[start : start + FRAME_BATCH], self.device, dtype)
