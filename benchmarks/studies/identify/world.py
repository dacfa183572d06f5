"""A world with known latent causes: the generative model assumed by MoVA's identifiability claims.

A video has a latent `z` of concept blocks. Its text shows all of `z` and a text nuisance. Each frame shows the few
blocks of its support, a scene that no text describes, and a frame nuisance. Text and frames are observed only through
two different smooth invertible mixings. Visible concepts have a small jitter: without it a single coordinate would
distinguish all pairs of a batch, and contrast could learn nothing from the others.

Source: the generative model of MoVA (arXiv 2607.00858); the mixings follow common simulations of nonlinear ICA
(Hyvarinen and Morioka 2016; Zimmermann et al. 2021).

Shape legend: B videos, T frames, K concepts, w coordinates per concept, n latent coordinates of one view.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mova.errors import UsageError

NEWTON_STEPS = 40


@dataclass(frozen=True)
class WorldConfig:
    """Sizes of the world and distribution of the supports.

    Attributes:
        concepts: K.
        width: w, coordinates per concept.
        frames: T, frames per video.
        active: minimum and maximum number of concepts that a frame shows.
        tied: number of concepts that always appear together. 1 is a diverse world; with 2 every concept has a constant
            companion.
        text_nuisance, scene, frame_nuisance: coordinates that only the text shows, that all frames of a video but no
            text show, and that only one frame shows.
        jitter: standard deviation of the noise on the concepts that a frame shows.
        layers: nonlinear layers of each mixing.
    """

    concepts: int = 6
    width: int = 2
    frames: int = 4
    active: tuple[int, int] = (2, 3)
    tied: int = 1
    text_nuisance: int = 2
    scene: int = 2
    frame_nuisance: int = 2
    jitter: float = 0.2
    layers: int = 2

    def __post_init__(self) -> None:
        low, high = self.active
        if self.tied < 1 or self.concepts % self.tied:
            raise UsageError(f"tied={self.tied} must divide the {self.concepts} concepts")
        if not self.tied <= low <= high <= self.concepts:
            raise UsageError(f"active={self.active} must be between tied={self.tied} and {self.concepts} concepts")

    @property
    def latent(self) -> int:
        """Number of coordinates of `z`, K w."""
        return self.concepts * self.width


@dataclass(frozen=True)
class Draw:
    """Videos with their causes.

    Attributes:
        z: (B, K w), uniform in [-1, 1].
        seen: (B, T, K w), `z` with the jitter of each frame; a frame shows the concepts of its support.
        text_nuisance: (B, n), also uniform.
        scene: (B, n), also uniform.
        frame_nuisance: (B, T, n), also uniform.
        support: bool, (B, T, K), which concepts a frame shows.
        text: (B, n), observed texts.
        frames: (B, T, n), observed frames.
    """

    z: Tensor
    seen: Tensor
    text_nuisance: Tensor
    scene: Tensor
    frame_nuisance: Tensor
    support: Tensor
    text: Tensor
    frames: Tensor


class Mixing:
    """A smooth invertible map of R^n: orthogonal matrices with smooth leaky units in between.

    The unit is `u(x) = a x + (1 - a) softplus(b x) / b`, with slope in (a, 1). The condition number of the Jacobian of
    the map is therefore at most `a ** -layers`.
    """

    slope = 0.25
    sharpness = 4.0

    def __init__(self, size: int, layers: int, generator: torch.Generator) -> None:
        draws = torch.randn(layers + 1, size, size, generator=generator, dtype=torch.float64)
        self.matrices = torch.linalg.qr(draws)[0].float()

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the map, (..., n) -> (..., n)."""
        for matrix in self.matrices[:-1]:
            x = self._unit(x @ matrix)
        return x @ self.matrices[-1]

    def inverse(self, y: Tensor) -> Tensor:
        """Invert the map, (..., n) -> (..., n), by Newton's method, which converges for a monotone convex unit."""
        matrices = self.matrices.to(y.dtype)
        y = y @ matrices[-1].T
        for matrix in matrices[:-1].flip(0):
            x = y.clone()
            for _ in range(NEWTON_STEPS):
                grade = self.slope + (1 - self.slope) * torch.sigmoid(self.sharpness * x)
                x = x - (self._unit(x) - y) / grade
            y = x @ matrix.T
        return y

    def condition(self, x: Tensor) -> Tensor:
        """Return the condition number of the Jacobian at every row, (N, n) -> (N,)."""
        jacobian = torch.func.vmap(torch.func.jacrev(self))(x)
        values = torch.linalg.svdvals(jacobian)
        return values[:, 0] / values[:, -1]

    def _unit(self, x: Tensor) -> Tensor:
        return self.slope * x + (1 - self.slope) * F.softplus(self.sharpness * x) / self.sharpness


class World:
    """Mixings drawn once from a seed, and any number of videos."""

    def __init__(self, config: WorldConfig, seed: int) -> None:
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        self.text_size = config.latent + config.text_nuisance
        self.frame_size = config.latent + config.scene + config.frame_nuisance
        self.text_mixing = Mixing(self.text_size, config.layers, generator)
        self.frame_mixing = Mixing(self.frame_size, config.layers, generator)

    def draw(self, videos: int, generator: torch.Generator) -> Draw:
        """Draw B new videos."""
        c, frames = self.config, self.config.frames

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator) * 2 - 1

        z, text_nuisance, scene = uniform(videos, c.latent), uniform(videos, c.text_nuisance), uniform(videos, c.scene)
        nuisance = uniform(videos, frames, c.frame_nuisance)
        support = draw_supports(c, videos, generator)
        seen = z.unsqueeze(1) + c.jitter * torch.randn(videos, frames, c.latent, generator=generator)
        visible = seen * support.repeat_interleave(c.width, dim=-1)
        latent = torch.cat([visible, scene.unsqueeze(1).expand(-1, frames, -1), nuisance], dim=-1)
        text = self.text_mixing(torch.cat([z, text_nuisance], dim=-1))
        return Draw(z, seen, text_nuisance, scene, nuisance, support, text, self.frame_mixing(latent))


def draw_supports(config: WorldConfig, videos: int, generator: torch.Generator) -> Tensor:
    """Draw which concepts each frame shows, bool (B, T, K), independently per frame; tied concepts appear together."""
    groups = config.concepts // config.tied
    low, high = config.active[0] // config.tied, config.active[1] // config.tied
    shape = (videos, config.frames)
    rank = torch.rand(*shape, groups, generator=generator).argsort(-1).argsort(-1)
    size = torch.randint(low, high + 1, shape, generator=generator)
    return (rank < size.unsqueeze(-1)).repeat_interleave(config.tied, dim=-1)
