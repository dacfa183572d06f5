"""A world whose latent causes are known: the generating model that MoVA's identifiability claims are about.

A video has a latent `z` made of concept blocks. Its text shows all of `z` and a nuisance of its own. Each frame shows
the few blocks of its support, a scene that no text tells, and a nuisance of its own. Text and frames are seen only
through two different smooth invertible mixings. Concepts inside a frame's support are seen with a small jitter:
without it any one coordinate would tell all pairs of a batch apart, and contrast could learn nothing from the others.

Source: the generating model of MoVA (arXiv 2607.00858), as noted; the mixings follow the usual simulations of
nonlinear ICA (Hyvarinen and Morioka 2016; Zimmermann et al. 2021).

Shape legend: B videos, T frames, K concepts, w coordinates a concept, n latent coordinates of one view.
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
    """Sizes of the world and the law of the supports.

    Attributes:
        concepts: K.
        width: w, coordinates a concept.
        frames: T, frames a video.
        active: least and most concepts that a frame shows.
        tied: concepts that always appear together. 1 is a diverse world; with 2 every concept has a constant companion.
        text_nuisance, scene, frame_nuisance: coordinates of what only the text shows, of what all frames of a video
            show and no text tells, and of what only one frame shows.
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
            raise UsageError(f"active={self.active} must lie between tied={self.tied} and {self.concepts} concepts")

    @property
    def latent(self) -> int:
        """Coordinates of `z`: K w."""
        return self.concepts * self.width


@dataclass(frozen=True)
class Draw:
    """Videos with their causes.

    Attributes:
        z: (B, K w), uniform in [-1, 1].
        text_nuisance: (B, n), likewise.
        scene: (B, n), likewise.
        frame_nuisance: (B, T, n), likewise.
        support: bool, (B, T, K), which concepts a frame shows.
        text: (B, n), what is observed of the text.
        frames: (B, T, n), what is observed of the frames.
    """

    z: Tensor
    text_nuisance: Tensor
    scene: Tensor
    frame_nuisance: Tensor
    support: Tensor
    text: Tensor
    frames: Tensor


class Mixing:
    """A smooth invertible map of R^n: orthogonal matrices with smooth leaky units between them.

    The unit is `u(x) = a x + (1 - a) softplus(b x) / b`, whose slope lies in (a, 1). So the condition number of the
    map's Jacobian is nowhere above `a ** -layers`.
    """

    slope = 0.25
    sharpness = 4.0

    def __init__(self, size: int, layers: int, generator: torch.Generator) -> None:
        draws = torch.randn(layers + 1, size, size, generator=generator, dtype=torch.float64)
        self.matrices = torch.linalg.qr(draws)[0].float()

    def __call__(self, x: Tensor) -> Tensor:
        """(..., n) -> (..., n)."""
        for matrix in self.matrices[:-1]:
            x = self._unit(x @ matrix)
        return x @ self.matrices[-1]

    def inverse(self, y: Tensor) -> Tensor:
        """(..., n) -> (..., n): each unit undone by Newton's method, which a monotone convex unit never defeats."""
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
        """Condition number of the Jacobian at every row: (N, n) -> (N,)."""
        jacobian = torch.func.vmap(torch.func.jacrev(self))(x)
        values = torch.linalg.svdvals(jacobian)
        return values[:, 0] / values[:, -1]

    def _unit(self, x: Tensor) -> Tensor:
        return self.slope * x + (1 - self.slope) * F.softplus(self.sharpness * x) / self.sharpness


class World:
    """Mixings drawn once from a seed, and videos drawn from them as often as wanted."""

    def __init__(self, config: WorldConfig, seed: int) -> None:
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        self.text_size = config.latent + config.text_nuisance
        self.frame_size = config.latent + config.scene + config.frame_nuisance
        self.text_mixing = Mixing(self.text_size, config.layers, generator)
        self.frame_mixing = Mixing(self.frame_size, config.layers, generator)

    def draw(self, videos: int, generator: torch.Generator) -> Draw:
        """B fresh videos."""
        c, frames = self.config, self.config.frames

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator) * 2 - 1

        z, told, scene = uniform(videos, c.latent), uniform(videos, c.text_nuisance), uniform(videos, c.scene)
        nuisance = uniform(videos, frames, c.frame_nuisance)
        support = draw_supports(c, videos, generator)
        shown = z.unsqueeze(1) + c.jitter * torch.randn(videos, frames, c.latent, generator=generator)
        shown = shown * support.repeat_interleave(c.width, dim=-1)
        latent = torch.cat([shown, scene.unsqueeze(1).expand(-1, frames, -1), nuisance], dim=-1)
        text = self.text_mixing(torch.cat([z, told], dim=-1))
        return Draw(z, told, scene, nuisance, support, text, self.frame_mixing(latent))


def draw_supports(config: WorldConfig, videos: int, generator: torch.Generator) -> Tensor:
    """Which concepts each frame shows: bool, (B, T, K); frames are independent, concepts tied together go together."""
    groups = config.concepts // config.tied
    low, high = config.active[0] // config.tied, config.active[1] // config.tied
    shape = (videos, config.frames)
    rank = torch.rand(*shape, groups, generator=generator).argsort(-1).argsort(-1)
    size = torch.randint(low, high + 1, shape, generator=generator)
    return (rank < size.unsqueeze(-1)).repeat_interleave(config.tied, dim=-1)
