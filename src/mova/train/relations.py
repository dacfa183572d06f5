"""Train what two moments share on moments of one's own: a basis for the concepts of a table (`mova fit --relations`).

The model's vectors stay as they are. Whether the basis helps is decided on moments that it was not trained on: all
moments of one file are held out together.

Shape legend: N moments, K values of a concept, d width of the shared space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mova.errors import UsageError
from mova.eval.metrics.classification import roc_auc
from mova.eval.tasks.relations import Gallery
from mova.models.encoder import DualEncoder
from mova.models.relations.basis import Relations, value_vectors
from mova.models.relations.concepts import concept_name
from mova.models.relations.fit import FitSettings, fit
from mova.scoring.respects import Respect, word_subspace

FOLDS, LEAST_FILES = 5, 10
LEAST_ERRORS = 2.0
"""Standard errors by which the held-out gain must exceed zero."""


@dataclass(frozen=True)
class RelationsReport:
    """Held-out figures of a basis: means over folds and concepts, ROC-AUC of pairs with equal values in percent.

    Attributes:
        moments, files: that were used.
        concepts: names.
        auc_words: of the word subspace, which needs no training.
        auc_basis: of the mask in the basis.
        gain, error: mean gain, and its standard error.

    >>> RelationsReport(200, 50, ("place",), auc_words=80.0, auc_basis=91.0, gain=11.0, error=2.0).helps
    True
    """

    moments: int
    files: int
    concepts: tuple[str, ...]
    auc_words: float
    auc_basis: float
    gain: float
    error: float

    @property
    def helps(self) -> bool:
        """Whether the gain exceeds zero by `LEAST_ERRORS` standard errors."""
        return self.gain > LEAST_ERRORS * self.error

    def to_json(self) -> dict[str, Any]:
        """Return all figures, and whether the basis helps."""
        return {**asdict(self), "helps": self.helps}


def train_relations(
    model: DualEncoder, gallery: Gallery, *, seed: int = 0, settings: FitSettings | None = None
) -> tuple[Relations, RelationsReport]:
    """Train a basis for the concepts of a gallery, and measure it on moments of files that were held out.

    Args:
        model: whose vectors the gallery has.
        gallery: moments with values (`mova.eval.tasks.relations.read_gallery`).
        seed: of the division into folds and of the training.
        settings: of the training; default: those of `FitSettings`.

    Returns:
        The basis trained on all moments, and the figures. Assign it to `model.relations` to use it.

    Raises:
        UsageError: moments of fewer than `LEAST_FILES` files, or no fold has pairs of both kinds.

    >>> import mova
    >>> from mova.eval.tasks.relations import worlds_gallery
    >>> model = mova.load("mova-worlds-tiny")
    >>> gallery = worlds_gallery(model, clips=60, style="seen", concepts=("color",))
    >>> relations, report = train_relations(model, gallery, settings=FitSettings(steps=5))
    >>> relations.trained, report.moments
    (('color',), 60)
    """
    settings = settings or FitSettings()
    names = {concept: concept_name(concept) for concept in gallery.values}
    values = {
        name: value_vectors(gallery.values[concept], lambda texts: model.encode_text(list(texts)).pooled)
        for concept, name in names.items()
    }
    labels = {name: torch.from_numpy(gallery.labels[concept]) for concept, name in names.items()}
    sources = list(gallery.sources) or [str(i) for i in range(len(gallery.frames))]
    report = _held_out(gallery.frames, labels, values, sources, seed, settings)
    center = gallery.frames.mean(dim=0)
    fitted = fit(gallery.frames - center, labels, values, settings)
    sentences = {names[concept]: [list(value) for value in rows] for concept, rows in gallery.values.items()}
    relations = Relations(
        fitted.generator, fitted.sharpness, fitted.offset, center, sentences, tuple(sentences), model.fingerprint()
    )
    return relations, report


def _held_out(
    frames: Tensor,
    labels: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    sources: Sequence[str],
    seed: int,
    settings: FitSettings,
) -> RelationsReport:
    """Measure the basis on each fold of files, trained on the others."""
    files = sorted(set(sources))
    if len(files) < LEAST_FILES:
        raise UsageError(
            f"moments of {len(files)} files: at least {LEAST_FILES} are needed, to hold some of them out; label more"
        )
    order = np.random.default_rng(seed).permutation(len(files))
    fold_of = {files[file]: number % FOLDS for number, file in enumerate(order.tolist())}
    fold = torch.tensor([fold_of[source] for source in sources])
    rows = []
    for number in range(FOLDS):
        inside, outside = fold == number, fold != number
        center = frames[outside].mean(dim=0)
        fitted = fit(frames[outside] - center, {n: row[outside] for n, row in labels.items()}, values, settings)
        trained = Relations(fitted.generator, fitted.sharpness, fitted.offset, center, {}, (), "")
        for name, vectors in values.items():
            respects = (Respect(word_subspace(vectors), center), trained.mask(vectors))
            found = [_auc(respect, frames[inside], labels[name][inside]) for respect in respects]
            if found[0] is not None and found[1] is not None:
                rows.append((found[0], found[1]))
    if len(rows) < 2:
        raise UsageError("too few held-out pairs of moments with equal and with different values; label more moments")
    table = np.array(rows)
    gains = table[:, 1] - table[:, 0]
    words, basis = table.mean(axis=0).tolist()
    error = float(gains.std(ddof=1) / len(gains) ** 0.5)
    figures = (round(value, 2) for value in (words, basis, float(gains.mean()), error))
    return RelationsReport(len(frames), len(files), tuple(values), *figures)


def _auc(respect: Respect, frames: Tensor, labels: Tensor) -> float | None:
    """Return the ROC-AUC of pairs with equal labels, in percent; None if all pairs are equal, or none."""
    real = labels >= 0
    first, second = torch.triu_indices(int(real.sum()), int(real.sum()), 1)
    equal = (labels[real][first] == labels[real][second]).numpy()
    if not equal.any() or equal.all():
        return None
    scores = respect.similarity(frames[real], frames[real])
    return 100 * float(roc_auc(scores[first, second].cpu().numpy(), equal))
