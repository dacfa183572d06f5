"""Saliency maps of a frame for a sentence: Grad-CAM and occlusion.

Both explain one number, the cosine of a frame's vector with a sentence's; Grad-CAM also the masked cosine of a MoVA.
Grad-CAM measures which patch features raise
it, in one backward pass (Selvaraju et al. 2017, equations 1 and 2). Occlusion covers a window and measures how much the
cosine drops (GEXIA, appendix G). It is slower, but works for any model, because it uses inputs and outputs alone.

Shape legend: N frames, S sentences, C h w model input pixels, P patches, r c rows and columns of patches or windows,
D width of a patch's features, d shared width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mova.errors import UsageError
from mova.scoring.similarity import cosine, paired_cosine

Encode = Callable[[Tensor], Tensor]
"""(N, C, h, w) -> (N, d)."""

WINDOW, STRIDE = 32 / 224, 16 / 224
"""Side and stride of the occluding window, as shares of the input's shorter side: 13 x 13 windows on a square."""
CHUNK = 64
"""Frames, or occluded copies, that pass a tower at once."""


def grad_cam(
    encode: Encode,
    reader: nn.Module,
    cell: int,
    pixels: Tensor,
    sentences: Tensor,
    masks: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Compute Grad-CAM of the cosine, or of the masked cosine, of every frame with every sentence.

    With A the features of the patches and y the cosine: `alpha_k = mean_p dy / dA_pk` (equation 1), and the map is
    `relu(sum_k alpha_k A_pk)` (equation 2). One forward pass serves all sentences. The masked cosine is
    `cos(z_t * m_v, z_T * m_t)`; the masks of a frame are held fixed.

    Args:
        encode: the tower; gradients flow.
        reader: module of the tower whose first argument is the grid, (N, D, r, c), or tokens with the patches at
            their end, (N, P' >= P, D).
        cell: side of a patch in input pixels.
        pixels: (N, C, h, w).
        sentences: (S, d).
        masks: `m_t` and `m_v`, (S, N, d) each, of texts and frames; None: the plain cosine.

    Returns:
        float32, (N, S, r, c), never negative, with r = h // cell and c = w // cell. Gradients do not flow.

    Raises:
        UsageError: the reader is never called, or has fewer positions than there are patches.
    """
    rows, columns = pixels.shape[-2] // cell, pixels.shape[-1] // cell
    parts = []
    for start, chunk in zip(range(0, len(pixels), CHUNK), pixels.split(CHUNK), strict=True):
        with torch.enable_grad(), _argument(reader) as captured:
            vectors = encode(chunk)
            if masks is None:
                scores = cosine(vectors, sentences)
            else:
                m_t, m_v = (mask[:, start : start + CHUNK].to(vectors.device) for mask in masks)
                scores = paired_cosine(vectors * m_v, sentences.to(vectors.device).unsqueeze(1) * m_t).T
        features = _patches(captured, rows, columns)
        maps = []
        for i in range(len(sentences)):
            slopes = torch.autograd.grad(scores[:, i].sum(), captured, retain_graph=i + 1 < len(sentences))
            weights = _patches(slopes, rows, columns).mean(dim=1, keepdim=True)
            maps.append((features * weights).sum(dim=-1).relu().unflatten(1, (rows, columns)))
        parts.append(torch.stack(maps, dim=1))
    return torch.cat(parts)


def _patches(arguments: Sequence[Tensor], rows: int, columns: int) -> Tensor:
    """Return the patch grid among the arguments of a reader, float32 (N, P, D).

    Raises:
        UsageError: no argument has this grid.
    """
    tokens = [x.flatten(2).transpose(1, 2) if x.ndim == 4 else x for x in arguments]
    if len(tokens) != 1 or tokens[0].shape[1] < rows * columns:
        raise UsageError(f"Grad-CAM: the tower has no grid of {rows} x {columns} patches; use occlusion")
    return tokens[0].detach()[:, -rows * columns :].float()


@contextmanager
def _argument(reader: nn.Module) -> Iterator[list[Tensor]]:
    """Detach the reader's first argument from the graph before it, and collect it for gradients."""
    captured: list[Tensor] = []

    def catch(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        captured.append(args[0].detach().requires_grad_())
        return (captured[-1], *args[1:])

    handle = reader.register_forward_pre_hook(catch)
    try:
        yield captured
    finally:
        handle.remove()


@torch.no_grad()
def occlusion(encode: Encode, pixels: Tensor, sentences: Tensor) -> Tensor:
    """Compute how much the cosine of a frame with a sentence drops when a window of the frame is covered.

    The cover has the frame's mean color. Windows are evenly spaced and reach all borders.

    Args:
        encode: the tower.
        pixels: (N, C, h, w); all channels of a window are covered together, so no frame of a stack shows it.
        sentences: (S, d).

    Returns:
        float32, (N, S, h, w), in cosines: a pixel's value is the mean drop over all windows that cover it; negative
        where covering raises the cosine.
    """
    tall, wide = (covers(side, min(pixels.shape[-2:])).to(pixels.device) for side in pixels.shape[-2:])
    windows = (tall[:, None, :, None] & wide[None, :, None, :]).flatten(0, 1)
    parts = []
    for frame in pixels:
        uncovered = cosine(encode(frame[None]), sentences)
        mean = frame.float().mean(dim=(-2, -1), keepdim=True).to(frame.dtype)
        copies = (torch.where(chunk[:, None], mean, frame) for chunk in windows.split(CHUNK))
        covered = torch.cat([cosine(encode(chunk), sentences) for chunk in copies])
        parts.append((uncovered - covered).T.unflatten(1, (len(tall), len(wide))))
    return spread(torch.stack(parts), tall, wide)


def covers(side: int, shorter: int) -> Tensor:
    """Return which pixels of a side each occluding window covers.

    Args:
        side: pixels.
        shorter: pixels of the input's shorter side; window and stride are shares of it.

    Returns:
        bool, (windows, side); every pixel is covered. 13 windows if both sides are equal.

    >>> covers(224, 224).sum(dim=1).unique()
    tensor([32])
    """
    window = max(1, round(WINDOW * shorter))
    count = max(2, 1 + round((side - WINDOW * shorter) / (STRIDE * shorter)))
    starts = torch.linspace(0, side - window, count, dtype=torch.float64).round()[:, None]
    positions = torch.arange(side)
    return (positions >= starts) & (positions < starts + window)


def spread(falls: Tensor, tall: Tensor, wide: Tensor) -> Tensor:
    """Return for each pixel the mean over all windows that cover it.

    Args:
        falls: (N, S, r, c), one value per window.
        tall, wide: bool, (r, h) and (c, w), from `covers`.

    Returns:
        (N, S, h, w).
    """
    down, across = tall.to(falls.dtype), wide.to(falls.dtype)
    total = torch.einsum("nsrc,rh,cw->nshw", falls, down, across)
    return total / (down.sum(0)[:, None] * across.sum(0)[None])
