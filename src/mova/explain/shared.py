"""What two moments of a video share, and where else in the video it is active: the recurring actor of figure 3.

MoVA isolates repeated mentions of one actor by intersecting masks (arXiv 2607.00858, figure 3). Three kinds of model
make three kinds of subspace here:

- *masks*: a MoVA with masks over dimensions intersects the concept masks of its two moments.
- *learned basis*: a model with a basis trained for concepts (`mova.models.relations`) intersects the concepts in which
  the moments agree, each by its concept mask.
- *word subspaces*: any other model does the same in the untrained subspaces of the concepts' words.

A frame is as active as it is like *both* moments: the lower of its two cosines, on average over the shared concepts.

Shape legend: T sampled frames, F shown frames, K values of a concept, d width, r width of a projection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mova.errors import UsageError
from mova.explain.keyframes import PICTURE_PIXELS, read_pictures
from mova.explain.stretches import active_stretches
from mova.models.embeddings import TextEmbedding, VideoEmbedding
from mova.models.encoder import DualEncoder
from mova.models.mova.sentence_masks import sentence_masks
from mova.models.relations.concepts import concept_name
from mova.scoring.respects import Respect, best_pair, word_subspace
from mova.scoring.similarity import cosine, paired_cosine, unit
from mova.types import Pixels, ScoredSpan

Source = Literal["masks", "learned basis", "word subspaces", "learned basis and word subspaces"]
AGREEMENT = 0.6
"""Mean of the moments' cosine and the sentences' in a concept from which on they share it."""
AROUND = 1.0
"""Seconds around a moment whose frames count in the agreement."""
MENTIONED = 0.4
"""Energy of a sentence in a concept's word subspace, relative to that of its values, from which on it mentions it."""
LIMIT = 6
"""Maximum number of peaks."""


@dataclass(frozen=True)
class ConceptAgreement:
    """How far two moments agree in a concept.

    Attributes:
        name: of the concept.
        frames: mean cosine in it of the frames around one moment with those around the other.
        sentences: cosine of the two sentences in it; None without sentences, or if one does not mention it.
        dimensions: axes that its projection keeps.
        shared: whether the moments share it.
    """

    name: str
    frames: float
    sentences: float | None
    dimensions: int
    shared: bool


@dataclass(frozen=True, eq=False)
class SharedSubspace:
    """The subspace that two moments share, and its activity over the video.

    Attributes:
        video, model: names.
        source: what the subspace is made of, see the module.
        sentences: the two sentences, or none.
        moments: indices of the two frames among T.
        concepts: agreement in every concept; empty if the source is "masks".
        dimensions: axes that all of it keeps.
        duration, times, step: seconds of the video, of the T frames, and between them, where that is known.
        activity: float32, (T,), the lower cosine with the two moments in what they share.
        peaks: active stretches (`active_stretches`), best first, those of the two moments included.
        frame_indices: the F shown frames: the two moments, then the top of every other peak.
        pictures: uint8, (F, H, W, 3).
    """

    video: str
    model: str
    source: Source
    sentences: tuple[str, ...]
    moments: tuple[int, int]
    concepts: tuple[ConceptAgreement, ...]
    dimensions: int
    duration: float
    times: npt.NDArray[np.float64]
    step: float | None
    activity: npt.NDArray[np.float32]
    peaks: tuple[ScoredSpan, ...]
    frame_indices: tuple[int, ...]
    pictures: Pixels

    @property
    def shared(self) -> tuple[str, ...]:
        """Names of the shared concepts."""
        return tuple(concept.name for concept in self.concepts if concept.shared)

    def given(self, peak: ScoredSpan) -> bool:
        """Return whether a peak contains one of the two moments."""
        return any(peak.span.start <= self.times[moment] < peak.span.end for moment in self.moments)

    def top(self, peak: ScoredSpan) -> int:
        """Return the frame of a peak with the highest activity."""
        return _top(self.times, self.activity, peak)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `mova explain --method shared --json` prints."""
        return {
            "video": self.video,
            "model": self.model,
            "method": "shared",
            "source": self.source,
            "sentences": list(self.sentences),
            "moments": [round(float(self.times[moment]), 3) for moment in self.moments],
            "concepts": [
                {
                    "name": concept.name,
                    "frames": round(concept.frames, 6),
                    "sentences": None if concept.sentences is None else round(concept.sentences, 6),
                    "dimensions": concept.dimensions,
                    "shared": concept.shared,
                }
                for concept in self.concepts
            ],
            "dimensions": self.dimensions,
            "times": [round(float(time), 3) for time in self.times],
            "activity": [round(float(value), 6) for value in self.activity],
            "peaks": [
                {
                    "start": round(peak.span.start, 3),
                    "end": round(peak.span.end, 3),
                    "time": round(float(self.times[self.top(peak)]), 3),
                    "score": round(peak.score, 6),
                    "given": self.given(peak),
                }
                for peak in self.peaks
            ],
        }


@torch.no_grad()
def shared_subspace(
    model: DualEncoder,
    video: str | Path,
    sentences: Sequence[str] = (),
    moments: Sequence[float] | None = None,
    by: str | Sequence[str] | None = None,
    limit: int = LIMIT,
) -> SharedSubspace:
    """Find what two moments of a video share, and where else it is active.

    Args:
        model: any model with frame vectors.
        video: a file.
        sentences: two sentences; their moments are the two different frames that show them best.
        moments: two times in seconds, instead of those frames; then sentences are optional.
        by: a concept, or a list of its values, that the moments share; default: found from the moments and sentences.
        limit: maximum number of peaks.

    Raises:
        UsageError: not two sentences or moments, a time outside the video, an unknown concept, or nothing is shared.
        VideoError: the file cannot be read.

    Example:
        >>> import mova
        >>> model = mova.load("mova-worlds-tiny", device="cpu")
        >>> found = shared_subspace(model, "film.mp4", ["A red star rises.", "A red star falls."])  # doctest: +SKIP
        >>> found.source, found.shared  # doctest: +SKIP
        ('learned basis', ('shape', 'color'))
    """
    if len(sentences) not in (0, 2) or (moments is None and not sentences):
        raise UsageError(f"shared: choose two sentences, not {len(sentences)}, or two moments")
    if moments is not None and len(moments) != 2:
        raise UsageError(f"shared: choose two moments, not {len(moments)}")
    encoded = model.encode_video(video)
    texts = model.encode_sentences(list(sentences)) if sentences else None
    pair = _frames_at(encoded, moments) if moments is not None else _best_frames(model, encoded, texts)
    frames = encoded.frames
    concepts: tuple[ConceptAgreement, ...] = ()
    source: Source = "masks"
    masked = None if by is not None or texts is None else _intersection(model, frames, texts, pair)
    if masked is not None:
        activity, dimensions = masked
    else:
        found = _concepts(model, encoded, texts, pair, by)
        concepts, respects = tuple(found), [respect for concept, respect in found.items() if concept.shared]
        if not respects:
            raise UsageError(_nothing_shared(concepts))
        source = _source(model, [concept.name for concept in concepts if concept.shared])
        activity, dimensions = activity_of(frames, pair, respects), _kept(respects, source == "learned basis")
    return _assemble(model, video, encoded, tuple(sentences), pair, concepts, source, activity, dimensions, limit)


def _source(model: DualEncoder, names: Sequence[str]) -> Source:
    known = model.trained_respects()
    trained = [name in known for name in names]
    if all(trained):
        return "learned basis"
    return "learned basis and word subspaces" if any(trained) else "word subspaces"


def activity_of(frames: Tensor, moments: Sequence[int], respects: Sequence[Respect]) -> Tensor:
    """Return how active what two moments share is in every frame, float32 (T,).

    It is the lowest cosine of a frame with the moments, on average over the respects.

    Args:
        frames: (T, d).
        moments: indices of frames.
        respects: in which the moments agree.

    Example:
        >>> color = Respect(torch.eye(2)[:, :1], torch.zeros(2))
        >>> activity_of(torch.tensor([[1.0, 0.0], [0.5, 0.9], [-1.0, 0.0]]), [0, 1], [color]).tolist()
        [1.0, 1.0, -1.0]
    """
    rows = [respect.similarity(frames[list(moments)], frames).amin(dim=0) for respect in respects]
    return torch.stack(rows).mean(dim=0).float()


def _frames_at(encoded: VideoEmbedding, moments: Sequence[float]) -> tuple[int, int]:
    """Return the sampled frames nearest to two times."""
    for moment in moments:
        if not 0 <= moment < max(encoded.duration, float(encoded.times[-1]) + 1e-6):
            raise UsageError(f"shared: {moment:g} s is outside the video ({encoded.duration:.2f} s)")
    one, two = (int(np.abs(encoded.times - moment).argmin()) for moment in moments)
    if one == two:
        raise UsageError("shared: both moments are nearest to the same sampled frame; choose times farther apart")
    return one, two


def _best_frames(model: DualEncoder, encoded: VideoEmbedding, texts: TextEmbedding | None) -> tuple[int, int]:
    """Return the two different frames that show two sentences best."""
    assert texts is not None
    if len(encoded.frames) < 2:
        raise UsageError("shared: the video has a single sampled frame, so it has no two moments")
    masks = sentence_masks(model, encoded.frames, texts)
    curves = model.relevance(texts, encoded) if masks is None else masks.scores
    one, two = best_pair(curves[:1], curves[1:])
    return int(one), int(two)


def _intersection(
    model: DualEncoder, frames: Tensor, texts: TextEmbedding, pair: tuple[int, int]
) -> tuple[Tensor, int] | None:
    """Return activity and dimensions of the intersection of two concept masks; None without masks over dimensions."""
    masks = sentence_masks(model, frames, texts)
    if masks is None or masks.target != "dimensions" or masks.m_v is None:
        return None
    mask = masks.m_v[0, pair[0]] * masks.m_v[1, pair[1]]
    dimensions = int((mask > 0.5).sum())
    if not dimensions:
        raise UsageError("shared: the concept masks of the two moments have no dimension in common; use --by CONCEPT")
    seen = frames * mask
    return paired_cosine(seen[list(pair)].unsqueeze(1), seen).amin(dim=0).float(), dimensions


def _concepts(
    model: DualEncoder,
    encoded: VideoEmbedding,
    texts: TextEmbedding | None,
    pair: tuple[int, int],
    by: str | Sequence[str] | None,
) -> Mapping[ConceptAgreement, Respect]:
    """Return the agreement of two moments in every concept that the model knows, or in one, and its respect."""
    center = unit(encoded.frames).mean(dim=0).cpu()
    one, two = (encoded.frames[np.abs(encoded.times - encoded.times[i]) <= AROUND] for i in pair)
    names: list[str | Sequence[str]] = [by] if by is not None else list(model.respects())
    found = {}
    for name in names:
        try:
            respect = model.respect(name, center)
        except UsageError:
            if by is not None:
                raise
            continue  # the model's vectors do not tell the values of this concept apart
        frames, said = float(respect.similarity(one, two).mean()), None
        if texts is not None and by is None:
            said = _said(model, name, texts.pooled)
        agreed = frames if said is None else (frames + said) / 2
        shared = by is not None or (agreed >= AGREEMENT and (texts is None or said is not None))
        label = concept_name(name) if isinstance(name, str) else ", ".join(name)
        found[ConceptAgreement(label, frames, said, _kept([respect], True), shared)] = respect
    return found


def _said(model: DualEncoder, name: str | Sequence[str], texts: Tensor) -> float | None:
    """Return the cosine of two sentences (2, d) in a concept; None if one of them does not mention it."""
    vectors = model.concept_values(name)
    words = word_subspace(vectors)
    center = vectors.mean(dim=0)
    said, spread = (unit(texts.float().cpu()) - center) @ words, (vectors - center) @ words
    energy = said.square().sum(dim=1) / spread.square().sum(dim=1).mean()
    return float(cosine(said[:1], said[1:])) if float(energy.min()) >= MENTIONED else None


def _kept(respects: Sequence[Respect], same_axes: bool) -> int:
    """Return how many axes projections keep together; of the same axes, those that any of them keeps."""
    lengths = [respect.projection.norm(dim=0) > 0.5 for respect in respects]
    if same_axes and len({len(length) for length in lengths}) == 1:
        return int(torch.stack(lengths).any(dim=0).sum())
    return sum(int(length.sum()) for length in lengths)


def _nothing_shared(concepts: Sequence[ConceptAgreement]) -> str:
    closest = sorted(concepts, key=lambda concept: -concept.frames)[:3]
    listed = ", ".join(f"{concept.name} {concept.frames:.2f}" for concept in closest)
    return (
        f"shared: the two moments agree in no concept that this model knows (closest: {listed}); name one with "
        "--by CONCEPT or --by 'a dog, a cat, a bird', or choose other moments"
    )


def _top(times: npt.NDArray[np.float64], curve: npt.NDArray[np.float32], peak: ScoredSpan) -> int:
    inside = (times >= peak.span.start) & (times < peak.span.end)
    return int(np.where(inside, curve, -np.inf).argmax())


def _assemble(
    model: DualEncoder,
    video: str | Path,
    encoded: VideoEmbedding,
    sentences: tuple[str, ...],
    pair: tuple[int, int],
    concepts: tuple[ConceptAgreement, ...],
    source: Source,
    activity: Tensor,
    dimensions: int,
    limit: int,
) -> SharedSubspace:
    """Find the peaks of the activity, and read the pictures of the moments and of the peaks."""
    curve = activity.cpu().numpy()
    stretches = active_stretches(curve, encoded.times, encoded.duration, encoded.step)
    tops = tuple(sorted(stretches, key=lambda found: -found.score)[:limit])
    times = encoded.times[list(pair)]
    others = [top for top in tops if not ((top.span.start <= times) & (times < top.span.end)).any()]
    shown = [*pair, *(_top(encoded.times, curve, top) for top in others)]
    pictures = read_pictures(video, encoded.times, sorted(shown), PICTURE_PIXELS, model.decoder)
    return SharedSubspace(
        video=str(video),
        model=model.name,
        source=source,
        sentences=sentences,
        moments=pair,
        concepts=concepts,
        dimensions=dimensions,
        duration=encoded.duration,
        times=encoded.times,
        step=encoded.step,
        activity=curve,
        peaks=tops,
        frame_indices=tuple(shown),
        pictures=pictures[[sorted(shown).index(frame) for frame in shown]],
    )
