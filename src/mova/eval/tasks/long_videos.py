"""Evaluate a model on long videos: retrieval among near duplicates by every scoring form, and localization.

Caption i belongs to video i. Beside the model, three systems are measured on the same captions and videos: *chance*,
one that knows the *group* of near duplicates alone, and an *oracle* that knows which clips show which statements, and
guesses among the videos that show all of them in order. Ties count by their expected rank.

Shape legend: V videos, S statements, T frames, F frames of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import average_precision_score

from mova.eval.metrics.classification import roc_auc
from mova.eval.metrics.ranking import find_ranks
from mova.eval.tasks.long_galleries import LongGallery
from mova.eval.tasks.scoring_forms import ScoringForm
from mova.models.encoder import DualEncoder
from mova.scoring.similarity import relevance

GROUP_VIDEOS = 8
"""Videos whose vectors are in memory at a time."""
ENCODED_TEXTS = 64
"""Statements encoded at a time."""
ENCODING = {"relevance": "whole", "global": "whole"}
"""Forms that score the same encoding of a text."""
ORACLE, GROUP, CHANCE = "oracle", "group known", "chance"

_Scores = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Recalls:
    """R@1 of one scoring form, in percent.

    Attributes:
        t2v, v2t: text to video, video to text.
        group: text to video, any video of the right group of near duplicates.
        members: member of the group -> text to video.
        statements: number of statements of the caption -> text to video.
        uncovered: range of the share of frames without a statement, thirds of the videos -> text to video.
    """

    t2v: float
    v2t: float
    group: float
    members: Mapping[str, float]
    statements: Mapping[str, float]
    uncovered: Mapping[str, float]


@dataclass(frozen=True)
class LongFigures:
    """Everything that was measured.

    Attributes:
        forms: scoring form -> its recalls.
        bounds: `ORACLE`, `GROUP` and `CHANCE` -> their recalls.
        localization: mean average precision of ranking the frames of a video by a statement, its chance level (the mean
            share of frames that show it), and the ROC-AUC of the highest cosine for frames that some statement of the
            caption describes (chance 0.5).
        videos, clips, statements: sizes.
        minutes: mean length of a video.
    """

    forms: Mapping[str, Recalls]
    bounds: Mapping[str, Recalls]
    localization: Mapping[str, float]
    videos: int
    clips: int
    statements: int
    minutes: float

    def to_json(self) -> dict[str, Any]:
        """Return all figures by name."""
        return asdict(self)


def evaluate_long(
    model: DualEncoder,
    gallery: LongGallery,
    forms: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LongFigures:
    """Score all captions of a gallery against all its videos.

    Args:
        model: that encoded the pool.
        gallery: from `worlds_gallery` or `clips_gallery`.
        forms: names of scoring forms. Default: `forms_of(model)`.
        progress: called after every form with the number of forms done, and of all.

    Raises:
        UsageError: an unknown form, or one that the model does not have.

    >>> import mova
    >>> from mova.eval.tasks.long_galleries import worlds_gallery
    >>> model = mova.load("mova-worlds-tiny")
    >>> figures = evaluate_long(model, worlds_gallery(model, videos=8, minutes=1), forms=["late"])
    >>> figures.bounds["chance"].t2v, figures.bounds["group known"].t2v, figures.bounds["oracle"].t2v
    (12.5, 25.0, 100.0)
    >>> figures.forms["late"].t2v > 25
    True
    """
    names = list(forms or forms_of(model))
    scorers = [ScoringForm(model, name) for name in names]
    captions = [gallery.caption(i) for i in range(len(gallery.videos))]
    recalls, encoded = {}, {}
    for done, scorer in enumerate(scorers, start=1):
        kind = ENCODING.get(scorer.name, scorer.name)
        if kind not in encoded:
            encoded[kind] = scorer.encode(captions)
        recalls[scorer.name] = recalls_of(_scores(scorer, gallery, encoded[kind]), gallery)
        if progress is not None:
            progress(done, len(scorers))
    return LongFigures(
        recalls,
        bounds_of(gallery),
        localization(model, gallery),
        len(gallery.videos),
        len(gallery.pool),
        len(gallery.statements),
        fmean(gallery.pool[i].duration for video in gallery.videos for i in video.clips)
        * fmean(len(video.clips) for video in gallery.videos)
        / 60,
    )


def forms_of(model: DualEncoder) -> list[str]:
    """Return the scoring forms without masks over dimensions, and the model's own.

    Masks over dimensions are computed for every frame of every pair, which takes hours; name such a form to measure it.
    """
    forms = ["rule"] if not model.rule.plain else []
    forms += ["late", "relevance", "global"]
    if model.selects_units:
        forms.append("modular")
    own = "late" if model.scoring_form == "rule" and model.rule.plain else model.scoring_form
    return [own, *(form for form in forms if form != own)]


@torch.no_grad()
def _scores(scorer: ScoringForm, gallery: LongGallery, captions: Any) -> _Scores:
    """Return the scores (V, V) of encoded captions (columns) against videos (rows)."""
    rows = []
    for start in range(0, len(gallery.videos), GROUP_VIDEOS):
        numbers = range(start, min(start + GROUP_VIDEOS, len(gallery.videos)))
        rows.append(scorer.score([gallery.embedding(i) for i in numbers], captions).double().cpu().numpy())
    return np.concatenate(rows)


def bounds_of(gallery: LongGallery) -> dict[str, Recalls]:
    """Return the recalls of the oracle, of one that knows the group alone, and of chance."""
    groups = np.array([video.group for video in gallery.videos])
    known = {
        ORACLE: gallery.satisfied(),
        GROUP: groups[:, None] == groups[None, :],
        CHANCE: np.zeros((len(groups), len(groups))),
    }
    return {name: recalls_of(scores.astype(np.float64), gallery) for name, scores in known.items()}


def recalls_of(scores: _Scores, gallery: LongGallery) -> Recalls:
    """Return the recalls of scores (V, V) of captions (columns) against videos (rows).

    Raises:
        ValueError: a score is NaN.
    """
    forward = np.ascontiguousarray(scores.T)
    hits = find_ranks(forward).within(1)
    groups = np.array([video.group for video in gallery.videos])
    same = groups[:, None] == groups[None, :]
    members = [video.member for video in gallery.videos]
    counts = [len(video.statements) for video in gallery.videos]
    return Recalls(
        _percent(hits),
        _percent(find_ranks(np.ascontiguousarray(scores)).within(1)),
        _percent(find_ranks(forward, same).within(1)),
        _by(hits, members, list(dict.fromkeys(members))),
        _by(hits, [str(count) for count in counts], [str(count) for count in sorted(set(counts))]),
        _by(hits, *thirds(uncovered_shares(gallery))),
    )


def uncovered_shares(gallery: LongGallery) -> npt.NDArray[np.float64]:
    """Return the share of each video's frames that no statement of its caption describes: (V,)."""
    return np.array([1 - gallery.truth(i).any(axis=0).mean() for i in range(len(gallery.videos))])


def thirds(values: npt.NDArray[np.float64]) -> tuple[list[str], list[str]]:
    """Cut values into thirds, equal ones together.

    Returns:
        The range of each value's third as a name, and all such names, lowest first.

    >>> thirds(np.array([0.9, 0.5, 0.7, 0.5, 0.8, 0.95]))
    (['0.90-0.95', '0.50-0.50', '0.70-0.80', ...], ['0.50-0.50', '0.70-0.80', '0.90-0.95'])
    """
    cuts = np.quantile(values, (1 / 3, 2 / 3), method="lower")
    part = np.searchsorted(cuts, values)
    names = {p: f"{values[part == p].min():.2f}-{values[part == p].max():.2f}" for p in sorted(set(part.tolist()))}
    return [names[p] for p in part.tolist()], list(dict.fromkeys(names.values()))


def localization(model: DualEncoder, gallery: LongGallery) -> dict[str, float]:
    """Return how well cosines find the frames of a statement in its video, see `LongFigures`."""
    curves = _curves(model, gallery)
    bounds = np.cumsum([0, *(len(clip.times) for clip in gallery.pool)])
    precisions, chances, described, best = [], [], [], []
    for number, video in enumerate(gallery.videos):
        frames = np.concatenate([np.arange(bounds[i], bounds[i + 1]) for i in video.clips])
        scores, truth = curves[list(video.statements)][:, frames], gallery.truth(number)
        precisions += [float(average_precision_score(t, s)) for t, s in zip(truth, scores, strict=True)]
        chances += truth.mean(axis=1).tolist()
        described.append(truth.any(axis=0))
        best.append(scores.max(axis=0))
    return {
        "sentence to frame, mAP": fmean(precisions),
        "chance mAP": fmean(chances),
        "described or other frame, AUC": float(roc_auc(np.concatenate(best), np.concatenate(described))),
    }


@torch.no_grad()
def _curves(model: DualEncoder, gallery: LongGallery) -> npt.NDArray[np.float32]:
    """Return the cosines of all statements with all frames of the pool: (S, F)."""
    frames = torch.cat([clip.frames for clip in gallery.pool])
    parts = []
    for start in range(0, len(gallery.statements), ENCODED_TEXTS):
        vectors = model.encode_sentences(list(gallery.statements[start : start + ENCODED_TEXTS])).pooled
        parts.append(relevance(vectors.to(frames.device), frames).cpu().numpy())
    return np.concatenate(parts)


def _percent(hits: npt.NDArray[np.float64]) -> float:
    return 100.0 * float(hits.mean())


def _by(hits: npt.NDArray[np.float64], names: Sequence[str], order: Sequence[str]) -> dict[str, float]:
    """Return the mean hit, in percent, of the queries of each name."""
    each = np.array(names)
    return {name: _percent(hits[each == name]) for name in order}
