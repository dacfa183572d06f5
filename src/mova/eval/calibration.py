"""Choose the evidence rule of a model on validation data, by grid search over gathered evidence.

Validation texts should resemble the texts of later use, above all in their number of units: how much the explanation of
more units is worth depends on how many captions of each length there are.

Shape legend: V videos, N texts, M texts that belong to a video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mova.eval.metrics.ranking import retrieval_metrics
from mova.scoring.caption_score import Evidence, EvidenceRule

_DIGITS = 9
"""Objectives that agree to this many decimals are equal; the simpler rule wins."""


@dataclass(frozen=True)
class Grid:
    """The values to try. Each field contains the plain value (0, or None), so that nothing is chosen unless it helps.

    Raises:
        ValueError: a plain value is missing.

    >>> Grid(g=(0.0, 0.5), theta=(0.0,)).g
    (0.0, 0.5)
    >>> Grid(g=(0.5,))
    Traceback (most recent call last):
        ...
    ValueError: grid: g must contain 0.0, so that the plain rule can win
    """

    g: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    theta: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    beta: tuple[float, ...] = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0)
    global_share: tuple[float | None, ...] = (None, 0.0, 0.05, 0.1, 0.15, 0.25)

    def __post_init__(self) -> None:
        for name, values in asdict(self).items():
            if getattr(EvidenceRule(), name) not in values:
                raise ValueError(
                    f"grid: {name} must contain {getattr(EvidenceRule(), name)}, so that the plain rule can win"
                )


@dataclass(frozen=True)
class Trial:
    """One rule and its R@1 in both directions, in percent, expected over the order of ties.

    >>> Trial(EvidenceRule(), text_to_video=50.0, video_to_text=60.0).objective
    55.0
    """

    rule: EvidenceRule
    text_to_video: float
    video_to_text: float

    @property
    def objective(self) -> float:
        """Mean of both directions."""
        return (self.text_to_video + self.video_to_text) / 2


@dataclass(frozen=True)
class Calibration:
    """The chosen rule, and everything that was tried.

    Attributes:
        rule: the simplest rule with the highest objective: fewest settings used, then smallest values.
        trials: in order; the first one is the plain rule.

    >>> trials = (Trial(EvidenceRule(), 50.0, 60.0), Trial(EvidenceRule(beta=0.5), 70.0, 60.0))
    >>> Calibration(trials[1].rule, trials).to_json()["rule"]["beta"]
    0.5
    """

    rule: EvidenceRule
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, Any]:
        """Return `{"rule", "trials": [{"g", "theta", "beta", "global_share", "t2v", "v2t"}]}`."""
        rows = [{**t.rule.to_dict(), "t2v": t.text_to_video, "v2t": t.video_to_text} for t in self.trials]
        return {"rule": self.rule.to_dict(), "trials": rows}


def calibrate(
    evidence: Evidence, owners: Sequence[int] | None = None, *, ordered: bool = False, grid: Grid | None = None
) -> Calibration:
    """Choose g, theta, beta and the global share by the mean of text-to-video and video-to-text R@1.

    Args:
        evidence: of validation videos and texts (`gather_evidence`), with order scores if `ordered`.
        owners: (N,), the video of each text; -1: the text is a distractor for all videos. A video may have several
            texts: each is ranked among those of other videos and the distractors. Default: text i belongs to video i.
        ordered: whether captions describe events in temporal order. Only then is beta tried. Theta is tried only with
            g, without which it has no effect, and the global share only if some text has a single unit.
        grid: values to try.

    Returns:
        The rule and everything that was tried; the same evidence gives the same result.

    Raises:
        ValueError: owners do not fit, no text belongs to a video, the evidence lacks a part, or contains NaN.

    >>> import torch
    >>> from mova.scoring.caption_score import gather_evidence
    >>> tea, door = torch.eye(2)
    >>> videos = [torch.stack([tea, tea, door]), torch.stack([door, door, tea])]
    >>> captions = [torch.stack([tea, door]), torch.stack([door, tea])]
    >>> result = calibrate(gather_evidence(videos, captions), ordered=True)
    >>> result.rule.beta, result.trials[0].objective, max(trial.objective for trial in result.trials)
    (0.05, 50.0, 100.0)
    """
    grid = grid or Grid()
    videos, texts = evidence.late.shape
    owner = np.asarray(owners if owners is not None else np.arange(texts), dtype=np.int64)
    if owner.shape != (texts,) or (owner >= videos).any() or (owner < -1).any() or not (owner >= 0).any():
        raise ValueError(f"calibrate: owners must name one of {videos} videos, or -1, for each of {texts} texts")
    owned = np.flatnonzero(owner >= 0)
    targets = owner[owned]
    siblings = targets[:, None] == owner[None, :]
    siblings[np.arange(len(owned)), owned] = False  # other texts of the same video do not compete
    trials = []
    for base in _bases(grid, ordered, single=bool((evidence.units == 1).any())):
        plain = EvidenceRule(beta=base[0], global_share=base[1])
        forward = _recall(_scores(plain, evidence)[:, owned].T, targets)  # g and theta shift whole rows
        for g, theta in [(0.0, 0.0), *((g, theta) for g in grid.g if g for theta in grid.theta)]:
            rule = EvidenceRule(g, theta, *base)
            backward = np.where(siblings, -np.inf, _scores(rule, evidence)[targets])
            trials.append(Trial(rule, forward, _recall(backward, owned)))
    return Calibration(min(trials, key=_preference).rule, tuple(trials))


def _bases(grid: Grid, ordered: bool, single: bool) -> Iterator[tuple[float, float | None]]:
    """Yield the (beta, global share) to try, the plain ones first."""
    shares = sorted(grid.global_share, key=lambda share: -1.0 if share is None else share) if single else [None]
    for beta in sorted(grid.beta) if ordered else [0.0]:
        for share in shares:
            yield beta, share


def _scores(rule: EvidenceRule, evidence: Evidence) -> npt.NDArray[np.float32]:
    return rule.weigh(evidence).detach().cpu().numpy()


def _recall(scores: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> float:
    return retrieval_metrics(scores, targets, ks=(1,))["R@1"]


def _preference(trial: Trial) -> tuple[float, ...]:
    """Sort key: highest objective first, then fewest settings, then smallest values."""
    rule = trial.rule
    used = sum(getattr(rule, name) != value for name, value in asdict(EvidenceRule()).items())
    share = -1.0 if rule.global_share is None else rule.global_share
    return -round(trial.objective, _DIGITS), used, rule.beta, rule.g, rule.theta, share
