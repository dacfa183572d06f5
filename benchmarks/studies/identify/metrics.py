"""What identification means, as numbers on plain arrays: block R^2, supports, atoms, sensitivity to nuisance.

Shape legend: N samples (frames), d code coordinates, K concepts of w coordinates each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.kernel_ridge import KernelRidge
from torch import Tensor

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

KERNELS = ((0.1, 1e-3), (0.1, 3e-2), (0.5, 3e-2), (0.1, 10.0))
"""Kernel widths (times 1 / inputs) and ridge strengths among which a validation third chooses."""
REGRESSION_SAMPLES = 1200
PATTERN_SAMPLES = 200
"""Least frames of one support for a regression on it."""


def regression_r2(inputs: Floats, targets: Floats) -> float:
    """Share of the targets' variance that a nonlinear regression explains on samples it has not seen.

    Gaussian kernel ridge on standardised inputs: the first third fits, the second chooses width and ridge, the last
    is scored. At most `REGRESSION_SAMPLES` rows are used.

    Args:
        inputs: (N, p); p may be 0, which explains nothing.
        targets: (N, q). Constant columns do not count.

    Returns:
        Mean R^2 over target columns. 1 is perfect, near 0 (or a little below) is chance; 0 if no column varies.
    """
    inputs, targets = inputs[:REGRESSION_SAMPLES], targets[:REGRESSION_SAMPLES]
    third = len(inputs) // 3
    fit, choose, score = slice(0, third), slice(third, 2 * third), slice(2 * third, None)
    targets = targets[:, targets[score].std(axis=0) > 1e-9]
    inputs = inputs[:, inputs[fit].std(axis=0) > 1e-9]
    if not targets.shape[1] or not inputs.shape[1]:
        return 0.0
    x = (inputs - inputs[fit].mean(axis=0)) / inputs[fit].std(axis=0)
    centre = targets[fit].mean(axis=0)
    best: tuple[float, KernelRidge | None] = (-np.inf, None)
    for gamma, alpha in KERNELS:
        model = KernelRidge(alpha=alpha, kernel="rbf", gamma=gamma / x.shape[1]).fit(x[fit], targets[fit] - centre)
        found = _r2(targets[choose], model.predict(x[choose]) + centre)
        if found > best[0]:
            best = (found, model)
    assert best[1] is not None
    return _r2(targets[score], best[1].predict(x[score]) + centre)


def _r2(truth: Floats, guess: Floats) -> float:
    return float(np.mean(1 - ((truth - guess) ** 2).mean(axis=0) / truth.var(axis=0)))


def block_r2(code: Floats, mask: Bools, z: Floats, support: Bools, patterns: int = 12) -> dict[str, float]:
    """Block identification, support by support: the open part of the code against the part of `z` that is shown.

    For each of the most frequent supports, the coordinates that are open in most of its frames are the learned block.

    Args:
        code: (N, d), unmasked.
        mask: (N, d).
        z: (N, K w).
        support: (N, K).
        patterns: how many supports to look at; each needs at least `PATTERN_SAMPLES` frames.

    Returns:
        Means over supports: `to_truth` (code to shown concepts), `from_truth` (back), `absent` (code to the concepts
        that the frame does not show, which should be at chance).

    Raises:
        ValueError: no support occurs often enough.
    """
    kinds, kind, counts = np.unique(support, axis=0, return_inverse=True, return_counts=True)
    width = z.shape[1] // support.shape[1]
    found: dict[str, list[float]] = {"to_truth": [], "from_truth": [], "absent": []}
    for which in np.argsort(-counts, kind="stable")[:patterns]:
        if counts[which] < PATTERN_SAMPLES:
            continue
        rows = kind.reshape(-1) == which
        block = code[np.ix_(rows, mask[rows].mean(axis=0) > 0.5)]
        shown = np.repeat(kinds[which], width)
        found["to_truth"].append(regression_r2(block, z[rows][:, shown]))
        found["from_truth"].append(regression_r2(z[rows][:, shown], block))
        found["absent"].append(regression_r2(block, z[rows][:, ~shown]))
    if not found["to_truth"]:
        raise ValueError(f"block_r2: no support has {PATTERN_SAMPLES} frames")
    return {name: float(np.mean(values)) for name, values in found.items()}


def match_supports(mask: Bools, truth: Bools) -> NDArray[np.intp]:
    """Which learned coordinate stands for which true one, by how far they are open in the same frames.

    The Hungarian assignment of greatest total overlap `2 |A and B| / (|A| + |B|)`.

    Args:
        mask: (N, d).
        truth: (N, D), true supports by coordinate.

    Returns:
        int, (D,): the learned coordinate of each true one, -1 where d < D leaves none.
    """
    a, b = mask.astype(np.float64), truth.astype(np.float64)
    overlap = 2 * (a.T @ b) / np.maximum(a.sum(axis=0)[:, None] + b.sum(axis=0)[None, :], 1)
    rows, columns = linear_sum_assignment(-overlap)
    match = np.full(truth.shape[1], -1, dtype=np.intp)
    match[columns] = rows
    return match


def support_scores(mask: Bools, truth: Bools, clear: Bools) -> tuple[float, float, float]:
    """Precision and recall of mask supports, up to a permutation found on one half and scored on the other.

    A learned coordinate that stands for no true one counts as wrong wherever it is open.

    Args:
        mask: (N, d).
        truth: (N, D), true supports by coordinate.
        clear: (N, D), where what is shown stands out from what is absent.

    Returns:
        Precision, recall, and recall among the clear ones alone.
    """
    half = len(mask) // 2
    match = match_supports(mask[:half], truth[:half])
    mask, truth, clear = mask[half:], truth[half:], (truth & clear)[half:]
    opened = np.stack([mask[:, j] if j >= 0 else np.zeros(len(mask), bool) for j in match], axis=1)
    hits = int((opened & truth).sum())
    plainly = int((opened & clear).sum()) / max(int(clear.sum()), 1)
    return hits / max(int(mask.sum()), 1), hits / max(int(truth.sum()), 1), plainly


def atoms(mask: Bools, support: Bools, share: float = 0.8) -> Bools:
    """Intersections: the coordinates open in (nearly) every frame that shows a concept.

    Args:
        mask: (N, d).
        support: (N, K).
        share: of the frames; below 1 because a learned gate errs now and then.

    Returns:
        bool, (K, d); a concept that no frame shows has none.
    """
    shown = support.astype(np.float64)
    return (shown.T @ mask) >= np.maximum(share * shown.sum(axis=0)[:, None], 1e-9)


def atom_r2(code: Floats, z: Floats, found: Bools) -> tuple[float, float]:
    """How well each concept's atom tells that concept, and how much of any other one it tells.

    Args:
        code: (N, d), unmasked.
        z: (N, K w).
        found: (K, d), of `atoms`.

    Returns:
        Mean over concepts of R^2 of the own block, and of the greatest R^2 among the other blocks.
    """
    concepts = len(found)
    blocks = z.reshape(len(z), concepts, -1)
    own, others = [], []
    for k in range(concepts):
        part = code[:, found[k]]
        scores = [regression_r2(part, blocks[:, other]) for other in range(concepts)]
        own.append(scores[k])
        others.append(max(scores[:k] + scores[k + 1 :]))
    return float(np.mean(own)), float(np.mean(others))


def sensitivity(view: Callable[[Tensor], Tensor], latent: Tensor, nuisance: int, weight: Tensor) -> float:
    """Size of `d code / d nuisance` beside `d code / d z`, by automatic differentiation.

    Args:
        view: latent of one view, (n,), to its code, (d,).
        latent: (N, n), `z` first, nuisance in the last `nuisance` coordinates.
        nuisance: how many.
        weight: (d,), how often each coordinate is open; what is never open is not part of the code.

    Returns:
        Sum over inputs of the mean absolute Jacobian, nuisance over `z`; 0 if nothing is ever open.
    """
    jacobian = torch.func.vmap(torch.func.jacrev(view))(latent).detach()
    by_input = (jacobian.abs().mean(dim=0) * weight[:, None]).sum(dim=0)
    whole = float(by_input[:-nuisance].sum())
    return float(by_input[-nuisance:].sum()) / whole if whole > 0 else 0.0
