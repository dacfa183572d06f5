"""Cost of masks: both forms of the temporal mask network versus the written-out one, and all pairs of a gallery.

Width 512 and 77 tokens as in CLIP ViT-B (`--quick`: 192 and 48), float32, one thread, processor seconds. Training is
forward and backward on videos of 16 frames. `joint` and `written out` compute the same function: the latter puts frame
and tokens into one sequence per frame and runs whole blocks over it. Scoring compares every video with every caption of
a small gallery, without gradients; times are per pair.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.common import harness
from mova.models.mova.masks import ConceptMaskNetwork, TemporalMaskNetwork, straight_through
from mova.models.mova.unit_masks import UnitMaskNetwork, unit_score
from mova.scoring.masked import modular_score

FRAMES, UNITS, HEADS, DEPTH = 16, 4, 8, 2
ROUNDS = 4
"""The best of this many rounds counts: other load can only slow a round down."""
CLIP_B16 = 149_620_737
"""Parameters of CLIP ViT-B/16."""
PAPER_SHARE = 174.7 / 162.3 - 1
"""What MoVA adds to CLIP4Clip's parameters in the paper (arXiv 2607.00858)."""


def written_out(network: TemporalMaskNetwork, frames: Tensor, tokens: Tensor) -> Tensor:
    """Compute the joint form with one sequence [frame; tokens] per frame."""
    count = frames.shape[1]
    x = torch.cat(
        [
            network.enter_frame(frames).flatten(0, 1).unsqueeze(1),
            network.enter_token(tokens).repeat_interleave(count, dim=0),
        ],
        dim=1,
    )
    for block in network.blocks:
        x = block(x)
    return network.head(x[:, 0]).view(frames.shape)


def training(report: harness.Report, width: int, length: int, videos: int) -> dict[str, float]:
    """Add rows for forward and backward passes; return seconds by name."""
    frames, tokens = torch.randn(videos, FRAMES, width), torch.randn(videos, length, width)
    real = torch.ones(videos, length, dtype=torch.bool)
    joint = TemporalMaskNetwork(width, DEPTH, HEADS, "joint")
    cross = TemporalMaskNetwork(width, DEPTH, HEADS, "cross", last_residual=False)
    concept = ConceptMaskNetwork(width, HEADS)
    forms: dict[str, tuple[torch.nn.Module, Callable[[], Tensor]]] = {
        "TMN joint, written out": (joint, lambda: written_out(joint, frames, tokens)),
        "TMN joint": (joint, lambda: joint(frames, joint.read(tokens, real))),
        "TMN cross": (cross, lambda: cross(frames, cross.read(tokens, real))),
        "CMN": (concept, lambda: concept(frames, frames)),
    }
    seconds = {
        name: harness.seconds(lambda call=call: call().sum().backward(), ROUNDS) for name, (_, call) in forms.items()
    }
    for name, (network, _) in forms.items():
        weights = sum(weight.numel() for weight in network.parameters())
        milliseconds = 1e3 * seconds[name] / videos
        report.row(
            name=name, ms_a_video=milliseconds, of_joint=seconds[name] / seconds["TMN joint"], parameters=weights
        )
    with torch.no_grad():
        difference = (written_out(joint, frames, tokens) - joint(frames, joint.read(tokens, real))).abs().max().item()
    report.claim(
        "joint equals its written-out form (largest difference of a probability)", difference, 1e-5, difference <= 1e-5
    )
    return seconds


@torch.no_grad()
def scoring(report: harness.Report, width: int, length: int, gallery: int) -> float:
    """Add rows for all pairs of a gallery; return how many times cheaper units are than masks over dimensions."""
    frames, tokens = torch.randn(gallery, FRAMES, width), torch.randn(gallery, length, width)
    text, units = torch.randn(gallery, width), torch.randn(gallery, UNITS, width)
    frame_mask, unit_mask = (torch.ones(gallery, n, dtype=torch.bool) for n in (FRAMES, UNITS))
    temporal, concept = TemporalMaskNetwork(width, DEPTH, HEADS), ConceptMaskNetwork(width, HEADS, "text")
    select = UnitMaskNetwork(width, HEADS)

    def dimensions() -> None:
        for n in range(gallery):
            memory = temporal.read(tokens[n : n + 1], torch.ones(1, length, dtype=torch.bool))
            m_t = straight_through(temporal(frames.view(1, -1, width), memory)).view(frames.shape)
            m_v = straight_through(concept(text[n] * m_t, frames))
            modular_score(frames, text[n].expand(gallery, -1), m_t, m_v, frame_mask)

    def subsets() -> None:
        unit_score(select(frames, frame_mask, select.read(units, unit_mask)), unit_mask, frame_mask)

    seconds = {
        "masks over dimensions (cross)": harness.seconds(dimensions, ROUNDS),
        "subset form": harness.seconds(subsets, ROUNDS),
    }
    for name, value in seconds.items():
        report.row(name=f"{name}: {gallery} x {gallery} pairs", us_a_pair=1e6 * value / gallery**2)
    dimensional, subset = seconds.values()
    return dimensional / subset


def main() -> None:
    """Run both parts."""
    args = harness.arguments(__doc__)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    report = harness.Report("masks", seeds=[args.seed])
    width, length, videos, gallery = (192, 48, 4, 32) if args.quick else (512, 77, 8, 64)
    seconds = training(report, width, length, videos)
    joint, cross = seconds["TMN joint"], seconds["TMN cross"]
    faster = seconds["TMN joint, written out"] / joint
    report.claim("times cheaper: joint than written out", faster, 1.5, faster >= 1.5)
    report.claim("times cheaper: cross than joint", joint / cross, 4.0, joint / cross >= 4.0)
    ratio = scoring(report, width, length, gallery)
    report.claim("times cheaper a pair: subset form than masks over dimensions", ratio, 20.0, ratio >= 20.0)
    if not args.quick:
        rows = {row["name"]: row["parameters"] for row in report.rows if "parameters" in row}
        share = (rows["TMN joint"] + rows["CMN"]) / CLIP_B16
        difference = abs(share - PAPER_SHARE)
        text = "parameters of the masks over CLIP ViT-B/16, as the paper's over CLIP4Clip (difference either way)"
        report.claim(text, difference, 0.005, difference <= 0.005)
    report.finish()


if __name__ == "__main__":
    main()
