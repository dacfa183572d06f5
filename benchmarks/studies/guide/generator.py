"""The generator: a small diffusion transformer over space and time, of diffusers' blocks and schedulers.

A frame is cut into patches; all patches of a clip attend to each other, and each frame's patches attend to the tokens
of the text that are open to this frame. One learned token is always open; it alone is the empty prompt of
classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598). The model predicts clean clips, which need fewer
steps here than noise or velocities (Li and He 2025, arXiv 2511.13720), on a cosine schedule with zero terminal signal
(Lin et al. 2024, arXiv 2305.08891).

Shape legend: N clips, T frames, s side, P patches per frame, L text tokens, d text width, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.embeddings import TimestepEmbedding, Timesteps, get_2d_sincos_pos_embed
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.studies.guide.clips import FRAMES, SENTENCES, SIDE

PATCH = 4
SIDE_PATCHES = SIDE // PATCH
CLIP_FRAMES = SENTENCES * FRAMES
STEM = 16
"""Channels of the convolution before frames are cut into patches."""
CLOSED = -1e4
"""Attention bias of a token that is closed to a frame."""


@dataclass(frozen=True)
class Training:
    """Settings of training and sampling, equal in all arms."""

    steps: int = 360
    batch: int = 32
    rate: float = 1.5e-3
    dropped: float = 0.1
    decay: float = 0.995
    width: int = 128
    layers: int = 3
    guidance: float = 2.0
    sampling_steps: int = 20


@dataclass(frozen=True)
class Conditions:
    """Texts of clips as the generator reads them.

    Attributes:
        tokens: float32 (N, L, d).
        opened: bool (N, T, L), whether a frame may read a token.
    """

    tokens: Tensor
    opened: Tensor

    def pick(self, rows: Tensor) -> Conditions:
        """Return those of some clips."""
        return Conditions(self.tokens[rows], self.opened[rows])


class Generator(nn.Module):
    """Predict clean clips from noisy ones (N, T, 3, s, s).

    Args:
        text_width: d.
        training: sizes.
    """

    def __init__(self, text_width: int, training: Training) -> None:
        super().__init__()
        width = training.width
        values = STEM * PATCH**2
        self.stem = nn.Sequential(nn.Conv2d(3, STEM, 3, padding=1), nn.GELU())
        self.enter, self.leave = nn.Linear(values, width), nn.Linear(width, 3 * PATCH**2)
        self.space = nn.Parameter(positions(width)[None, None])
        self.time = nn.Parameter(0.5 * torch.randn(1, CLIP_FRAMES, 1, width))
        self.noise_level = nn.Sequential(Timesteps(width, True, 0), TimestepEmbedding(width, width))
        self.shifts = nn.ModuleList(nn.Linear(width, width) for _ in range(training.layers))
        self.text = nn.Sequential(nn.LayerNorm(text_width, elementwise_affine=False), nn.Linear(text_width, width))
        self.empty = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(
                width, 4, width // 4, cross_attention_dim=width, activation_fn="gelu-approximate", attention_bias=True
            )
            for _ in range(training.layers)
        )
        for block in self.blocks:
            block.attn1.set_processor(AttnProcessor())  # in bfloat16 faster than PyTorch's own on a processor
            block.attn2.set_processor(AttnProcessor())
        self.norm = nn.LayerNorm(width)
        nn.init.zeros_(self.leave.weight)

    def forward(self, clips: Tensor, levels: Tensor, conditions: Conditions) -> Tensor:
        """Return clean clips (N, T, 3, s, s) for noisy ones at noise levels (N,)."""
        with torch.autocast("cpu", torch.bfloat16):
            return self._predict(clips, levels, conditions).float()

    def _predict(self, clips: Tensor, levels: Tensor, conditions: Conditions) -> Tensor:
        seen = self.stem(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        x = (self.enter(patches(seen)) + self.space + self.time).flatten(1, 2)
        text = torch.cat([self.empty.expand(len(x), -1, -1), self.text(conditions.tokens)], dim=1)
        opened = F.pad(conditions.opened, (1, 0), value=True).repeat_interleave(SIDE_PATCHES**2, dim=1)
        bias = torch.zeros(opened.shape).masked_fill(~opened, CLOSED)
        level = self.noise_level(levels)
        for block, shift in zip(self.blocks, self.shifts, strict=True):
            x = block(x + shift(F.silu(level))[:, None], encoder_hidden_states=text, encoder_attention_mask=bias)
        return frames_of(self.leave(self.norm(x)))


def positions(width: int) -> Tensor:
    """Return sinusoidal positions of patches, (P, D); half of D is for rows, half for columns."""
    table: Tensor = get_2d_sincos_pos_embed(width, SIDE_PATCHES, output_type="pt")
    return table.float()


def patches(clips: Tensor) -> Tensor:
    """Cut frames of C channels into patches: (N, T, C, s, s) -> (N, T, P, C * PATCH ** 2)."""
    cut = clips.unflatten(-1, (SIDE_PATCHES, PATCH)).unflatten(-3, (SIDE_PATCHES, PATCH))
    return cut.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)


def frames_of(rows: Tensor) -> Tensor:
    """Join patches to frames: (N, T * P, 3 * PATCH ** 2) -> (N, T, 3, s, s)."""
    cut = rows.unflatten(1, (CLIP_FRAMES, SIDE_PATCHES, SIDE_PATCHES)).unflatten(-1, (3, PATCH, PATCH))
    return cut.permute(0, 1, 4, 2, 5, 3, 6).flatten(-2).flatten(-3, -2)


def noise_schedule() -> DDIMScheduler:
    """Return the scheduler of training and sampling."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def train_generator(
    clips: Tensor,
    conditions: Conditions,
    training: Training,
    seed: int,
    log: Callable[[int, float], None] | None = None,
) -> Generator:
    """Train on clips (N, T, 3, s, s) in [-1, 1]; return the moving average of the weights.

    With the same seed, every arm starts from the same weights and sees the same clips, noise and empty prompts.
    """
    torch.manual_seed(seed)
    net = Generator(conditions.tokens.shape[-1], training)
    schedule, average = noise_schedule(), EMAModel(net.parameters(), decay=training.decay, use_ema_warmup=True)
    optimizer = torch.optim.AdamW(net.parameters(), training.rate, betas=(0.9, 0.98), weight_decay=0.01)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.rate, total_steps=training.steps, pct_start=min(0.1, 20 / training.steps)
    )
    for step in range(training.steps):
        rows = torch.randint(len(clips), (training.batch,))
        text, clean = conditions.pick(rows), clips[rows]
        noise, levels = torch.randn_like(clean), torch.randint(1000, (training.batch,))
        with_text = torch.rand(training.batch) >= training.dropped
        text = Conditions(text.tokens, text.opened & with_text[:, None, None])
        loss = F.mse_loss(net(schedule.add_noise(clean, noise, levels), levels, text), clean)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        rates.step()
        average.step(net.parameters())
        if log is not None:
            log(step, loss.item())
    result = deepcopy(net)
    average.copy_to(result.parameters())
    return result.eval()


@torch.no_grad()
def sample(net: Generator, conditions: Conditions, training: Training, seed: int) -> Tensor:
    """Render a clip per text by DDIM with classifier-free guidance: uint8 (N, T, s, s, 3)."""
    schedule = noise_schedule()
    schedule.set_timesteps(training.sampling_steps)
    count = len(conditions.tokens)
    noise = torch.Generator().manual_seed(seed)
    clips = torch.randn(count, CLIP_FRAMES, 3, SIDE, SIDE, generator=noise)
    closed = torch.zeros_like(conditions.opened)
    both = Conditions(conditions.tokens.repeat(2, 1, 1), torch.cat([conditions.opened, closed]))
    for level in schedule.timesteps:
        plain = net(clips.repeat(2, 1, 1, 1, 1), level.expand(2 * count), both)
        guided, free = plain.chunk(2)
        clips = schedule.step(free + training.guidance * (guided - free), level, clips).prev_sample
    return ((clips.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 1, 3, 4, 2)
