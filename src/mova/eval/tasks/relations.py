"""Evaluate whether a model tells what two moments share: the same color, place, shape, ...

A *gallery* is a set of moments with a value per concept. All pairs of moments that have a value are ranked by their
similarity in the respect of the concept; the figure is the ROC-AUC of pairs with equal values against all others. The
similarities that need no training are measured beside the model's own:

- *full cosine*: of the whole vectors;
- *random mask*: a random quarter of the axes, mean over draws;
- *word subspace*: after projection to the differences between the values' texts;
- *posterior over values*: cosines of the distributions over the values, at the best of several temperatures.

A model without a trained basis uses its word subspace (`DualEncoder.respect`), so that both rows are equal. Values are
named to all of them alike; `mova bench relations` measures values that were never named.

Shape legend: N moments, K values of a concept, d width of the shared space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from mova.errors import DataError, UsageError
from mova.eval.metrics.classification import roc_auc
from mova.models.encoder import DualEncoder
from mova.models.relations.basis import value_vectors
from mova.models.relations.concepts import TEMPLATES, Values, concept_name
from mova.scoring.respects import Respect, centered, word_subspace
from mova.types import Frames
from mova.utils.tables import is_missing_value, read_csv
from mova.worlds.factors import FACTORS
from mova.worlds.relations import relation_clips, value_sentences
from mova.worlds.render import HELD_OUT_STYLE, TRAIN_STYLES

STREAM = 2122
"""First part of the seeds of galleries, so that no training draw is repeated."""
KEPT, DRAWS = 0.25, 8
"""Share of axes that a random mask keeps, and masks whose figures are averaged."""
TEMPERATURES = (0.02, 0.05, 0.1, 0.2)
LEAST_PAIRS = 10
"""Pairs of equal values, and of different ones, that a concept needs."""
MODEL = "the model's own"
FULL, RANDOM, SUBSPACE, POSTERIOR = "full cosine", "random mask", "word subspace", "posterior over values"
ARMS = (MODEL, FULL, RANDOM, SUBSPACE, POSTERIOR)
COLUMNS = ("file", "start", "end")
FACTORS_COMPARED = ("shape", "colour", "size", "motion", "place", "count", "relation")
"""Factors of Worlds that are concepts: one event can have each of their values."""
STYLES = {"seen": TRAIN_STYLES, "unseen": (HELD_OUT_STYLE,)}

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Moments with facts.

    Attributes:
        frames: float32, (N, d), unit vectors.
        labels: concept -> index (N,) of the value of each moment, -1 for none.
        values: concept -> sentences about each value.
        sources: the file of each moment; empty: each is of a file of its own.
    """

    frames: Tensor
    labels: Mapping[str, _Ints]
    values: Mapping[str, Values]
    sources: Sequence[str] = ()


@dataclass(frozen=True)
class ConceptRelations:
    """Figures of one concept.

    Attributes:
        auc: arm -> ROC-AUC in percent; 50 is chance.
        moments, same, different: number of moments with a value, of pairs with equal values, and of other pairs.
        trained: whether the model has a basis trained for the concept.
    """

    auc: Mapping[str, float]
    moments: int
    same: int
    different: int
    trained: bool


def evaluate_relations(model: DualEncoder, gallery: Gallery) -> dict[str, ConceptRelations]:
    """Return the figures of every concept of a gallery.

    Raises:
        UsageError: the model's vectors do not tell the values of a concept apart.
        DataError: a concept has fewer than `LEAST_PAIRS` pairs of either kind.

    >>> import mova
    >>> model = mova.load("mova-worlds-tiny")
    >>> figures = evaluate_relations(model, worlds_gallery(model, clips=40, concepts=("color",)))
    >>> figures["color"].trained, figures["color"].moments
    (True, 40)
    """
    results = {}
    for concept in gallery.values:  # before anything is encoded
        _require_pairs(gallery.labels[concept], concept)
    for concept, values in gallery.values.items():
        labels = torch.from_numpy(gallery.labels[concept])
        known = labels >= 0
        moments, real = gallery.frames[known], labels[known]
        pairs = _Pairs(real)
        vectors = value_vectors(values, lambda texts: model.encode_text(list(texts)).pooled)
        center = gallery.frames.mean(dim=0)
        trained = concept in model.trained_respects()
        own = model.respect(concept) if trained else Respect(word_subspace(vectors), center)
        projections: dict[str, list[Tensor]] = {
            MODEL: [own.project(moments).cpu()],
            FULL: [moments - center],
            RANDOM: [(moments - center)[:, chosen] for chosen in _masks(moments.shape[1])],
            SUBSPACE: [(moments - center) @ word_subspace(vectors)],
        }
        auc = {arm: float(np.mean([pairs.auc(part) for part in parts])) for arm, parts in projections.items()}
        auc[POSTERIOR] = max(pairs.auc(part) for part in _posteriors(moments, center, vectors))
        results[concept] = ConceptRelations(auc, len(real), pairs.same, pairs.different, trained)
    return results


class _Pairs:
    """All pairs of moments with labels (N,)."""

    def __init__(self, labels: Tensor) -> None:
        self._first, self._second = torch.triu_indices(len(labels), len(labels), 1)
        self._equal = (labels[self._first] == labels[self._second]).numpy()
        self.same = int(self._equal.sum())
        self.different = len(self._equal) - self.same

    def auc(self, vectors: Tensor) -> float:
        """Return the ROC-AUC, in percent, of equal labels by the cosines of vectors (N, r)."""
        unit = F.normalize(vectors, dim=-1)
        return 100 * float(roc_auc((unit @ unit.T)[self._first, self._second].numpy(), self._equal))


def _masks(width: int) -> list[Tensor]:
    draws = torch.Generator().manual_seed(0)
    kept = max(1, round(KEPT * width))
    return [torch.randperm(width, generator=draws)[:kept] for _ in range(DRAWS)]


def _posteriors(moments: Tensor, center: Tensor, values: Tensor) -> list[Tensor]:
    """Return distributions (N, K) over the values by temperature, with and without centering."""
    pairs = ((moments, values), (moments - center, centered(values)))
    cosines = [F.normalize(m, dim=-1) @ F.normalize(v, dim=-1).T for m, v in pairs]
    return [torch.softmax(c / temperature, dim=-1) for c in cosines for temperature in TEMPERATURES]


def worlds_gallery(
    model: DualEncoder, *, clips: int = 600, style: str = "unseen", seed: int = 0, concepts: Sequence[str] | None = None
) -> Gallery:
    """Render moments of random events that differ in everything else, and encode them.

    Args:
        model: frames have its `context`.
        clips: N.
        style: "seen" (styles that `mova-worlds-tiny` was trained with) or "unseen".
        seed: draws events and sentences.
        concepts: names of concepts. Default: all factors of Worlds.

    Raises:
        UsageError: an unknown style or concept, or fewer than two clips.
    """
    factors = {concept_name(factor): factor for factor in FACTORS_COMPARED}
    if style not in STYLES:
        raise UsageError(f"style {style!r} is unknown; choose one of {', '.join(STYLES)}")
    unknown = [name for name in concepts or () if name not in factors]
    if unknown:
        raise UsageError(f"{unknown[0]}: no concept of Worlds; choose from {', '.join(factors)}")
    if clips < 2:
        raise UsageError(f"a gallery needs at least two clips, not {clips}")
    chosen = {name: factors[name] for name in concepts or factors}
    rng = np.random.default_rng([STREAM, seed])
    stacks, facts = relation_clips(rng, clips, STYLES[style])
    values = {name: value_sentences(rng, factor, FACTORS[factor]) for name, factor in chosen.items()}
    frames = F.normalize(_encode_stacks(model, stacks).float().cpu(), dim=-1)
    return Gallery(frames, {name: facts[factor] for name, factor in chosen.items()}, values)


def _encode_stacks(model: DualEncoder, stacks: npt.NDArray[np.uint8]) -> Tensor:
    """Encode the middle picture (N, d) of each stack of three, with its neighbors if the model reads them."""
    count, _, height, width = stacks.shape
    pictures = stacks.reshape(count, 3, 3, height, width).transpose(0, 1, 3, 4, 2)
    if model.context == 0:
        return model.encode_frames(Frames(np.ascontiguousarray(pictures[:, 1]), np.arange(float(count))))
    times = np.arange(3) / model.frame_rate
    return torch.stack([model.encode_frames(Frames(np.ascontiguousarray(three), times))[1] for three in pictures])


def read_gallery(
    path: str | Path, model: DualEncoder, progress: Callable[[str, float, float], None] | None = None
) -> Gallery:
    """Read a CSV table with the columns `file`, `start` and `end` (seconds, optional) and one column per concept.

    An empty cell means that the moment has no value. Relative paths are relative to the table. A moment's vector is the
    mean of its frames' unit vectors.

    Args:
        path: of the table.
        model: encodes the moments.
        progress: called before each moment with its file, the number of moments before it, and that of all.

    Raises:
        UsageError: no such file.
        DataError: columns are missing, a time is wrong, or a concept has too few pairs.
        VideoError: a file cannot be read.
    """
    path = Path(path)
    rows = list(read_csv(path))
    concepts = [name for name in (rows[0][1] if rows else {}) if name not in COLUMNS]
    if not rows or "file" not in rows[0][1] or not concepts:
        raise DataError(f"{path}: a table with a column `file` and at least one concept, such as `place`, is expected")
    labels, values = {}, {}
    for concept in concepts:
        cells = [(row.get(concept) or "").strip() for _, row in rows]
        texts = [None if not cell or is_missing_value(cell) else cell for cell in cells]
        named = sorted({text for text in texts if text is not None})
        labels[concept] = np.array([-1 if text is None else named.index(text) for text in texts])
        values[concept] = [tuple(template.format(text) for template in TEMPLATES) for text in named]
        _require_pairs(labels[concept], f"{path}: {concept}")
    frames = []
    for number, (where, row) in enumerate(rows):
        if progress is not None:
            progress(row["file"], number, len(rows))
        frames.append(_moment(model, path, where, row))
    files = [row["file"] for _, row in rows]
    return Gallery(F.normalize(torch.stack(frames), dim=-1), labels, values, files)


def _require_pairs(labels: _Ints, name: str) -> None:
    counts = np.bincount(labels[labels >= 0])
    same = int((counts * (counts - 1) // 2).sum())
    different = int(counts.sum() * (counts.sum() - 1) // 2 - same)
    if min(same, different) < LEAST_PAIRS:
        raise DataError(
            f"{name}: {same} pairs of moments have the same value and {different} different ones; at least "
            f"{LEAST_PAIRS} of each are needed, so more moments are"
        )


def _moment(model: DualEncoder, path: Path, where: str, row: Mapping[str, str]) -> Tensor:
    """Return the mean unit vector (d,) of the frames of a row."""
    file = path.parent / row["file"]
    embedding = model.encode_video(file)
    start, end = (_seconds(row.get(name), where, name, other) for name, other in (("start", 0.0), ("end", np.inf)))
    inside = (embedding.times >= start) & (embedding.times < end)
    if not inside.any():  # shorter than the sampling period
        inside = np.abs(embedding.times - start) == np.abs(embedding.times - start).min()
    return F.normalize(embedding.frames[torch.from_numpy(inside)].float().cpu(), dim=-1).mean(dim=0)


def _seconds(cell: str | None, where: str, name: str, otherwise: float) -> float:
    text = (cell or "").strip()
    try:
        value = float(text) if text else otherwise
    except ValueError:
        value = np.nan
    if not value >= 0:
        raise DataError(f"{where}: {name} must be seconds, not {text!r}")
    return value
