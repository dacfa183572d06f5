"""Choosing the evidence rule of a model on validation data: every setting of a grid, tried on gathered evidence.

Validation texts should be like those of later use, in the number of their units above all: how much an explanation of
more is worth depends on how many captions of each length there are.

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
"""Objectives equal to so many decimal places are equal: the simpler rule wins."""


@dataclass(frozen=True)
class Grid:
    """The values that are tried. Each holds the plain one (0, or None), so that nothing is chosen that does not help.

    Raises:
        ValueError: the plain value is missing.
    """

    g: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    theta: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    beta: tuple[float, ...] = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0)
    global_share: tuple[float | None, ...] = (None, 0.0, 0.05, 0.1, 0.15, 0.25)

    def __post_init__(self) -> None:
        for name, values in asdict(self).items():
            if getattr(EvidenceRule(), name) not in values:
                raise ValueError(f"grid: {name} must hold {getattr(EvidenceRule(), name)}, so that plain can win")


@dataclass(frozen=True)
class Trial:
    """One setting and its R@1 both ways, percent, expected over random order of ties."""

    rule: EvidenceRule
    text_to_video: float
    video_to_text: float

    @property
    def objective(self) -> float:
        """Mean of both ways."""
        return (self.text_to_video + self.video_to_text) / 2


@dataclass(frozen=True)
class Calibration:
    """The rule chosen, and everything tried.

    Attributes:
        rule: of the trials with the highest objective the simplest one: fewest settings used, then smallest values.
        trials: in the order of trying; the first one is the plain rule.
    """

    rule: EvidenceRule
    trials: tuple[Trial, ...]

    def to_json(self) -> dict[str, Any]:
        """`{"rule", "trials": [{"g", "theta", "beta", "global_share", "t2v", "v2t"}]}`."""
        rows = [{**t.rule.to_dict(), "t2v": t.text_to_video, "v2t": t.video_to_text} for t in self.trials]
        return {"rule": self.rule.to_dict(), "trials": rows}


def calibrate(
    evidence: Evidence, owners: Sequence[int] | None = None, *, ordered: bool = False, grid: Grid | None = None
) -> Calibration:
    """Choose g, theta, beta and the global share by the mean of text-to-video and video-to-text R@1.

    Args:
        evidence: of validation videos and texts (`gather_evidence`); order scores are needed where `ordered`.
        owners: (N,), the video that each text belongs to; -1: none, the text is a distractor for all videos. A video
            may own several texts: each is looked for among those of other videos and the distractors. If left out,
            text i belongs to video i.
        ordered: captions tell events in temporal order. Only then is beta tried; theta only beside g, without which it
            changes nothing, and the global share only where a text has one unit.
        grid: values to try.

    Returns:
        The rule and the table tried; equal evidence gives equal answers.

    Raises:
        ValueError: owners do not fit, no text belongs to a video, the evidence lacks a part, or holds NaN.
    """
    grid = grid or Grid()
    videos, texts = evidence.late.shape
    given = np.asarray(owners if owners is not None else np.arange(texts), dtype=np.int64)
    if given.shape != (texts,) or (given >= videos).any() or (given < -1).any() or not (given >= 0).any():
        raise ValueError(f"calibrate: owners must name one of {videos} videos, or -1, for each of {texts} texts")
    owned = np.flatnonzero(given >= 0)
    targets = given[owned]
    own = targets[:, None] == given[None, :]
    own[np.arange(len(owned)), owned] = False  # a text's siblings are no rivals of its own
    trials = []
    for bases in _bases(grid, ordered, lone=bool((evidence.units == 1).any())):
        plain = EvidenceRule(beta=bases[0], global_share=bases[1])
        forward = _recall(_scores(plain, evidence)[:, owned].T, targets)  # g and theta are constant in a row of it
        for g, theta in [(0.0, 0.0), *((g, theta) for g in grid.g if g for theta in grid.theta)]:
            rule = EvidenceRule(g, theta, *bases)
            backward = np.where(own, -np.inf, _scores(rule, evidence)[targets])
            trials.append(Trial(rule, forward, _recall(backward, owned)))
    return Calibration(min(trials, key=_preference).rule, tuple(trials))


def _bases(grid: Grid, ordered: bool, lone: bool) -> Iterator[tuple[float, float | None]]:
    """(beta, global share) to try, the plain ones first."""
    shares = sorted(grid.global_share, key=lambda share: -1.0 if share is None else share) if lone else [None]
    for beta in sorted(grid.beta) if ordered else [0.0]:
        for share in shares:
            yield beta, share


def _scores(rule: EvidenceRule, evidence: Evidence) -> npt.NDArray[np.float32]:
    """(V, N)."""
    return rule.weigh(evidence).detach().cpu().numpy()


def _recall(scores: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> float:
    """Expected R@1, percent."""
    return retrieval_metrics(scores, targets, ks=(1,))["R@1"]


def _preference(trial: Trial) -> tuple[float, ...]:
    """Smallest is best: highest objective, fewest settings, smallest values."""
    rule = trial.rule
    used = sum(getattr(rule, name) != value for name, value in asdict(EvidenceRule()).items())
    share = -1.0 if rule.global_share is None else rule.global_share
    return -round(trial.objective, _DIGITS), used, rule.beta, rule.g, rule.theta, share
