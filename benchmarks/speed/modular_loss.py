"""L_sfdm + L_dfsm, forward and backward: matrix products in blocks versus the written-out broadcast.

Batch of 64 videos, 16 frames, width 512 (`--quick`: 16 videos), float32, one thread. The written-out form multiplies
every frame with every mask into an array of (V T) x (V T) x d. A second form does so for 16 frames at a time and
recomputes them in the backward pass, the best that fits into little memory without the matrix products. Every form runs
in its own process. Time is processor time (best of several rounds), so other load matters less. Memory is the peak of
the resident set above its level before the call, with inputs allocated and one small call done. If the machine has too
little memory for the written-out form at full size, all forms run with half the videos, and so on; a column reports the
number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from benchmarks.common import harness
from mova.losses.masked_contrast import concept_nce
from mova.losses.pairwise import masked_cosine

FRAMES, WIDTH, SCALE = 16, 512, 14.0
SPARE = 2.0
"""Free memory required to run the written-out form, as a multiple of its expected memory."""
EXPECTED_ARRAYS = 5
"""Arrays of (V T) x (V T) x d held at its peak."""


def contrast(cosines: Tensor) -> Tensor:
    """Return both cross-entropies of a whole matrix, excluding other frames of the same video."""
    group = torch.arange(len(cosines)) // FRAMES
    same = (group[:, None] == group[None]).fill_diagonal_(False)
    logits = (SCALE * cosines).masked_fill(same, float("-inf"))
    target = torch.arange(len(logits))
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)


def flat(frames: Tensor, text: Tensor, m_t: Tensor, m_v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return unit frames, concept masks and masked texts, (P, d) each."""
    masked = F.normalize(text, dim=-1)[:, None] * m_t
    return F.normalize(frames, dim=-1).flatten(0, 1), m_v.flatten(0, 1), masked.flatten(0, 1)


def broadcast_cosine(a: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """Compute (A, B) cosines through an (A, B, d) array."""
    masked = a[:, None] * m[None]
    return (masked * s[None]).sum(dim=-1) / (masked.norm(dim=-1) * s.norm(dim=-1))


def written_out(*inputs: Tensor) -> Tensor:
    """Broadcast over everything."""
    return contrast(broadcast_cosine(*flat(*inputs)))


def written_out_in_rows(*inputs: Tensor) -> Tensor:
    """Broadcast for 16 frames at a time, recomputed in the backward pass."""
    a, m, s = flat(*inputs)
    return contrast(torch.cat([checkpoint(broadcast_cosine, part, m, s, use_reentrant=False) for part in a.split(16)]))


def whole_matrix(*inputs: Tensor) -> Tensor:
    """Use matrix products; autograd holds the whole matrix."""
    return contrast(masked_cosine(*flat(*inputs)))


def in_blocks(frames: Tensor, text: Tensor, m_t: Tensor, m_v: Tensor) -> Tensor:
    """Use the library: `mova.losses.masked_contrast.concept_nce`."""
    real = torch.ones(frames.shape[:2], dtype=torch.bool)
    same_frame, same_mask = concept_nce(frames, real, text, m_t, m_v, SCALE)
    return same_frame + same_mask


FORMS: dict[str, Callable[..., Tensor]] = {
    "written out": written_out,
    "written out, 16 frames at a time": written_out_in_rows,
    "matrix products, whole matrix": whole_matrix,
    "matrix products in blocks": in_blocks,
}


def draw(videos: int, seed: int) -> list[Tensor]:
    """Draw frames, texts and soft masks."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((videos, FRAMES, WIDTH), (videos, WIDTH), (videos, FRAMES, WIDTH), (videos, FRAMES, WIDTH))
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    return [t if i < 2 else t.sigmoid() for i, t in enumerate(tensors)]


def child(form: str, videos: str, seed: str, rounds: str) -> None:
    """Run one form in this process; print processor seconds (best of `rounds`), peak memory and the loss as JSON."""
    torch.set_num_threads(1)

    def step(tensors: list[Tensor]) -> float:
        inputs = [t.requires_grad_() for t in tensors]
        for tensor in inputs:
            tensor.grad = None
        loss = FORMS[form](*inputs)
        loss.backward()
        return float(loss.detach())

    step(draw(2, 0))
    tensors, losses = draw(int(videos), int(seed)), list[float]()
    costs = harness.costs(lambda: losses.append(step(tensors)), int(rounds))
    print(json.dumps({**costs, "loss": losses[-1]}))


def measure(form: str, videos: int, seed: int, rounds: int) -> dict[str, float]:
    """Run one form in a subprocess."""
    costs: dict[str, float] = harness.in_subprocess(
        "benchmarks.speed.modular_loss", form, str(videos), str(seed), str(rounds)
    )
    return costs


def fitting(videos: int) -> int:
    """Halve `videos` until the written-out form fits into free memory."""
    free = int(next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemAvail")).split()[1])
    while videos > 2 and SPARE * EXPECTED_ARRAYS * 4 * WIDTH * (videos * FRAMES) ** 2 > 1024 * free:
        videos //= 2
    return videos


def main() -> None:
    """Run every form, print and record the results."""
    args = harness.arguments(__doc__)
    report = harness.Report("modular_loss", seeds=[args.seed])
    videos = fitting(16 if args.quick else 64)
    results = {form: measure(form, videos, args.seed, 2 if "written" in form else 5) for form in FORMS}
    slow, blocks = results["written out"], results["matrix products in blocks"]
    larger = measure("matrix products in blocks", 4 * videos, args.seed, 2)
    for name, values, count in [
        *((f, v, videos) for f, v in results.items()),
        ("in blocks, 4 times the videos", larger, 4 * videos),
    ]:
        comparable = count == videos
        report.row(
            name=name,
            videos=count,
            cpu_seconds=round(values["seconds"], 4),
            times_faster=round(slow["seconds"] / values["seconds"], 1) if comparable else None,
            peak_megabytes=round(values["megabytes"], 1),
            times_less_memory=round(slow["megabytes"] / values["megabytes"], 1) if comparable else None,
            loss=round(values["loss"], 6),
        )
    faster, leaner = slow["seconds"] / blocks["seconds"], slow["megabytes"] / blocks["megabytes"]
    size = f"{videos} videos, {FRAMES} frames, width {WIDTH}"
    report.claim(f"{size}: at least 10 times faster than written out", faster, 10, faster >= 10)
    bound = 10 if args.quick else 20
    report.claim(f"{size}: at least {bound} times less memory than written out", leaner, bound, leaner >= bound)
    rowwise = results["written out, 16 frames at a time"]["seconds"] / blocks["seconds"]
    report.claim("at least 10 times faster than written out 16 frames at a time", rowwise, 10, rowwise >= 10)
    growth = larger["megabytes"] / blocks["megabytes"]
    if not args.quick:  # a small batch is one block, whose memory still grows with the square
        report.claim("16 times the pairs take at most 6 times the memory", growth, 6, growth <= 6)
    difference = max(abs(values["loss"] - slow["loss"]) / slow["loss"] for values in results.values())
    report.claim("all forms give the same loss (relative)", difference, 1e-5, difference <= 1e-5)

    def plot(figure: Any) -> None:
        for axes, key, label in zip(
            figure.subplots(1, 2, sharey=True), ("seconds", "megabytes"), ("CPU s", "MB"), strict=True
        ):
            axes.barh(list(results), [values[key] for values in results.values()])
            axes.set_xscale("log")
            axes.set_xlabel(label)
        figure.axes[0].invert_yaxis()  # shared
        figure.suptitle(f"L_sfdm + L_dfsm, forward and backward: {size}")

    report.finish(plot)


if __name__ == "__main__":
    main()
