"""Measures of identification on plain arrays: block R^2, supports, atoms, sensitivity to nuisance.

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
"""Kernel widths (times 1 / inputs) and ridge strengths to choose from on the validation third."""
REGRESSION_SAMPLES = 1200
PATTERN_SAMPLES = 200
"""Minimum number of frames of a support for a regression on it."""


def regression_r2(inputs: Floats, targets: Floats) -> float:
    """Compute the share of the targets' variance that a nonlinear regression explains on unseen samples.

    Gaussian kernel ridge regression on standardized inputs: the first third is fitted, the second selects width and
    ridge, the last is scored. At most `REGRESSION_SAMPLES` rows are used.

    Args:
        inputs: (N, p); p may be 0 (R^2 is 0).
        targets: (N, q). Constant columns are ignored.

    Returns:
        Mean R^2 over target columns. 1 is perfect, near 0 (or a little below) is chance; 0 if no column varies, or
        without rows.
    """
    if len(inputs) < 3:
        return 0.0
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
        score_on_validation = _r2(targets[choose], model.predict(x[choose]) + centre)
        if score_on_validation > best[0]:
            best = (score_on_validation, model)
    assert best[1] is not None
    return _r2(targets[score], best[1].predict(x[score]) + centre)


def _r2(truth: Floats, guess: Floats) -> float:
    return float(np.mean(1 - ((truth - guess) ** 2).mean(axis=0) / truth.var(axis=0)))


def block_r2(code: Floats, mask: Bools, z: Floats, support: Bools, patterns: int = 12) -> dict[str, float]:
    """Measure block identification per support: the open part of the code against the visible part of `z`.

    For each of the most frequent supports, the learned block is the set of coordinates open in most of its frames.

    Args:
        code: (N, d), unmasked.
        mask: (N, d).
        z: (N, K w).
        support: (N, K).
        patterns: number of supports to use; each needs at least `PATTERN_SAMPLES` frames.

    Returns:
        Means over supports: `to_truth` (code to shown concepts), `from_truth` (back), `absent` (code to
        concepts that the frame does not show, expected at chance).

    Raises:
        ValueError: no support occurs often enough.
    """
    kinds, kind, counts = np.unique(support, axis=0, return_inverse=True, return_counts=True)
    width = z.shape[1] // support.shape[1]
    results: dict[str, list[float]] = {"to_truth": [], "from_truth": [], "absent": []}
    for which in np.argsort(-counts, kind="stable")[:patterns]:
        if counts[which] < PATTERN_SAMPLES:
            continue
        rows = kind.reshape(-1) == which
        block = code[np.ix_(rows, mask[rows].mean(axis=0) > 0.5)]
        visible = np.repeat(kinds[which], width)
        results["to_truth"].append(regression_r2(block, z[rows][:, visible]))
        results["from_truth"].append(regression_r2(z[rows][:, visible], block))
        results["absent"].append(regression_r2(block, z[rows][:, ~visible]))
    if not results["to_truth"]:
        raise ValueError(f"block_r2: no support has {PATTERN_SAMPLES} frames")
    return {name: float(np.mean(values)) for name, values in results.items()}


def match_supports(mask: Bools, truth: Bools) -> NDArray[np.intp]:
    """Match learned to true coordinates by how often they are open in the same frames.

    This is the Hungarian assignment with the largest total overlap `2 |A and B| / (|A| + |B|)`.

    Args:
        mask: (N, d).
        truth: (N, D), true supports by coordinate.

    Returns:
        int, (D,): the learned coordinate of each true one; -1 if there is none (d < D).
    """
    a, b = mask.astype(np.float64), truth.astype(np.float64)
    overlap = 2 * (a.T @ b) / np.maximum(a.sum(axis=0)[:, None] + b.sum(axis=0)[None, :], 1)
    rows, columns = linear_sum_assignment(-overlap)
    match = np.full(truth.shape[1], -1, dtype=np.intp)
    match[columns] = rows
    return match


def support_scores(mask: Bools, truth: Bools, clear: Bools) -> tuple[float, float, float]:
    """Compute precision and recall of mask supports, up to a permutation fitted on one half and scored on the other.

    A learned coordinate without a true one counts as wrong wherever it is open.

    Args:
        mask: (N, d).
        truth: (N, D), true supports by coordinate.
        clear: (N, D), where a visible concept is clearly different from an absent one.

    Returns:
        Precision, recall, and recall among the clear ones only.
    """
    half = len(mask) // 2
    match = match_supports(mask[:half], truth[:half])
    mask, truth, clear = mask[half:], truth[half:], (truth & clear)[half:]
    opened = np.stack([mask[:, j] if j >= 0 else np.zeros(len(mask), bool) for j in match], axis=1)
    hits = int((opened & truth).sum())
    clear_recall = int((opened & clear).sum()) / max(int(clear.sum()), 1)
    return hits / max(int(mask.sum()), 1), hits / max(int(truth.sum()), 1), clear_recall


def atoms(mask: Bools, support: Bools, share: float = 0.8) -> Bools:
    """Return intersections of masks: the coordinates open in (almost) every frame that shows a concept.

    Args:
        mask: (N, d).
        support: (N, K).
        share: required share of the frames; below 1 because a learned gate makes errors.

    Returns:
        bool, (K, d); a concept that no frame shows has no atom.
    """
    visible = support.astype(np.float64)
    return (visible.T @ mask) >= np.maximum(share * visible.sum(axis=0)[:, None], 1e-9)


def atom_r2(code: Floats, z: Floats, atoms: Bools, support: Bools | None = None) -> tuple[float, float]:
    """Measure how well each concept's atom predicts that concept, and any other concept.

    Args:
        code: (N, d), unmasked.
        z: (N, K w).
        atoms: (K, d), from the function `atoms`.
        support: (N, K), which concepts a row shows. A concept is then predicted in rows that show it (and the concept
            of the atom), because nothing else is known of it in a frame. Default: every row shows all.

    Returns:
        Means over concepts of the R^2 of its own block, and of the largest R^2 among the other blocks.
    """
    concepts = len(atoms)
    blocks = z.reshape(len(z), concepts, -1)
    own_scores, best_others = [], []
    for k in range(concepts):
        part = code[:, atoms[k]]
        rows = [slice(None) if support is None else support[:, k] & support[:, index] for index in range(concepts)]
        scores = [regression_r2(part[rows[index]], blocks[rows[index], index]) for index in range(concepts)]
        own_scores.append(scores[k])
        best_others.append(max(scores[:k] + scores[k + 1 :]))
    return float(np.mean(own_scores)), float(np.mean(best_others))


def sensitivity(view: Callable[[Tensor], Tensor], latent: Tensor, nuisance: int, weight: Tensor) -> float:
    """Compute the size of `d code / d nuisance` relative to `d code / d z` by automatic differentiation.

    Args:
        view: maps the latent of one view, (n,), to its code, (d,).
        latent: (N, n), `z` first, nuisance in the last `nuisance` coordinates.
        nuisance: number of nuisance coordinates.
        weight: (d,), how often each coordinate is open; coordinates that are never open are not part of the code.

    Returns:
        Ratio of the summed mean absolute Jacobian, nuisance to `z`; 0 if nothing is ever open.
    """
    jacobian = torch.func.vmap(torch.func.jacrev(view))(latent).detach()
    by_input = (jacobian.abs().mean(dim=0) * weight[:, None]).sum(dim=0)
    latent_total = float(by_input[:-nuisance].sum())
    return float(by_input[-nuisance:].sum()) / latent_total if latent_total > 0 else 0.0
