"""Score whole captions against videos from the vectors of their units and frames.

    S = K^g (B + beta * order - theta)

over the K units of a caption (`mova.text.units`):

- B is late interaction (`similarity.late_interaction`): each unit is pooled over the frames that show it, and the mean
  over units falls if no frame shows one of them.
- `order` (`similarity.order_score`), weighted by beta, rewards units that occur in their order.
- theta is the cosine from which a unit counts as evidence for its caption; a unit below it counts against the caption.
- g weighs the amount of evidence: among captions that all fit, a higher g prefers those with more units.

K is the same for all videos that are ranked for one text, so g and theta only change which text is ranked first for a
video.

If `global_share` is set, B of a caption of one unit is the cosine with frames pooled by relevance
(`similarity.relevance_pooled`), plus that share of the cosine with all frames pooled equally.

With every parameter at its default this is plain late interaction. `mova.eval.calibration` chooses them on validation
data.

Shape legend: V videos, N texts, K units of a text, T frames of a video, d width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from mova.errors import ModelError
from mova.scoring.similarity import late_interaction, order_score, relevance_pooled

GROUP_FRAMES = 4096
"""Frames, padding included, of the videos that are scored together."""
GROUP_CELLS = 2**20
"""Cosines in memory at a time: 4 MB, in a few such tensors, however many videos and texts there are."""
PADDING = 1.5
"""The longest of the videos that are scored together has at most this many times the frames of the shortest."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The terms of the score for every pair of a video and a text; any rule can be applied to them without the vectors.

    Attributes:
        late: float32, (V, N), late interaction.
        units: float32, (N,), K of each text.
        order: float32, (V, N), `order_score`. Late interaction if the text has more units than the video has frames,
            where no order is possible. None if it was not requested.
        pooled: float32, (V, N), `relevance_pooled` of texts of one unit, 0 for others. None if it was not requested.
        overall: float32, (V, N), cosine of texts of one unit with all frames pooled equally, 0 for others. None if it
            was not requested.

    Example:
        >>> tea, door = torch.eye(2)
        >>> evidence = gather_evidence([torch.stack([tea, door])], [torch.stack([tea, door])])
        >>> evidence.units, evidence.late.shape
        (tensor([2.]), torch.Size([1, 1]))
    """

    late: Tensor
    units: Tensor
    order: Tensor | None = None
    pooled: Tensor | None = None
    overall: Tensor | None = None


@dataclass(frozen=True)
class EvidenceRule:
    """Parameters of the caption score `S = K^g (B + beta * order - theta)` (see the module).

    Attributes:
        g: exponent of the number of units, at least 0: how much more a longer caption counts.
        theta: cosine from which a unit counts as evidence for its caption, in [-1, 1].
        beta: weight of the order score, at least 0; only for captions in temporal order.
        global_share: weight of the global cosine for captions of one unit, at least 0. None: they are scored as others.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> import torch
        >>> tea, door = torch.eye(2)
        >>> tea_then_door = torch.stack([tea, tea, door])
        >>> caption = torch.stack([tea, door])
        >>> for rule in (EvidenceRule(), EvidenceRule(beta=0.25)):
        ...     scores = rule.score([tea_then_door], [caption, caption.flip(0)])
        ...     print(" ".join(f"{score:.2f}" for score in scores[0].tolist()))
        1.00 1.00
        1.26 1.12
    """

    g: float = 0.0
    theta: float = 0.0
    beta: float = 0.0
    global_share: float | None = None

    def __post_init__(self) -> None:
        lowest = {"g": 0.0, "theta": -1.0, "beta": 0.0, "global_share": 0.0}
        for name, value in asdict(self).items():
            if value is None and name == "global_share":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"evidence rule: {name} must be a finite number, not {value!r}")
            if value < lowest[name] or (name == "theta" and value > 1.0):
                raise ValueError(f"evidence rule: {name} must be {_RANGES[name]}, not {value:g}")

    @property
    def plain(self) -> bool:
        """Whether this is late interaction alone."""
        return self == EvidenceRule()

    def to_dict(self) -> dict[str, float | None]:
        """Return the parameters for a configuration file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any] | None) -> EvidenceRule:
        """Restore a rule from `to_dict`; None (from older configurations without a rule) gives the default.

        Raises:
            ModelError: a name is unknown, or a number is out of its range.
        """
        unknown = sorted(set(settings or {}) - {field.name for field in fields(cls)})
        if unknown:
            raise ModelError(f"evidence rule: unknown parameter {', '.join(unknown)}; choose from {', '.join(_RANGES)}")
        try:
            return cls(**(settings or {}))
        except ValueError as error:
            raise ModelError(f"{error}; fix `rule` in the model's config.json") from error

    def weigh(self, evidence: Evidence) -> Tensor:
        """Compute scores from evidence.

        Returns:
            float32, (V, N).

        Raises:
            ValueError: a term that this rule needs was not gathered.
        """
        base = evidence.late
        if self.global_share is not None:
            if evidence.pooled is None or evidence.overall is None:
                raise ValueError("evidence rule: a global share needs evidence gathered with lone=True")
            base = torch.where(evidence.units == 1, evidence.pooled + self.global_share * evidence.overall, base)
        if self.beta:
            if evidence.order is None:
                raise ValueError("evidence rule: beta needs evidence gathered with order=True")
            base = base + self.beta * evidence.order
        if self.theta:
            base = base - self.theta
        return evidence.units**self.g * base if self.g else base

    def score(self, videos: Sequence[Tensor], texts: Sequence[Tensor]) -> Tensor:
        """Score every text against every video; beyond the result, memory does not grow with their numbers.

        Args:
            videos: frame vectors, (T, d) each, any T.
            texts: vectors of the units, (K, d) each, any K; moved to the videos' device.

        Returns:
            float32, (V, N).

        Raises:
            ValueError: a video has no frame, or a text has no unit.
        """
        lone = self.global_share is not None
        return self.weigh(gather_evidence(videos, texts, order=self.beta > 0, lone=lone))


_RANGES = {"g": "at least 0", "theta": "in [-1, 1]", "beta": "at least 0", "global_share": "at least 0 (or None)"}


def gather_evidence(
    videos: Sequence[Tensor],
    texts: Sequence[Tensor],
    *,
    order: bool = True,
    lone: bool = True,
    cells: int = GROUP_CELLS,
) -> Evidence:
    """Compute all terms of the score, in groups of videos of similar length and texts of equally many units.

    Args:
        videos: frame vectors, (T, d) each.
        texts: vectors of the units, (K, d) each.
        order: also compute order scores.
        lone: also compute the terms that `global_share` needs.
        cells: cosines in memory at a time (at least those of one text and `GROUP_FRAMES` frames, or one longer video).

    Raises:
        ValueError: a video has no frame, or a text has no unit.

    Example:
        >>> tea, door = torch.eye(2)
        >>> captions = [torch.stack([tea, door]), torch.stack([door, tea])]
        >>> evidence = gather_evidence([torch.stack([tea, tea, door])], captions)
        >>> evidence.late.round(decimals=2), evidence.order.round(decimals=2)
        (tensor([[1., 1.]]), tensor([[1.0300, 0.5000]]))
    """
    for what, items in (("a video has no frame", videos), ("a text has no unit", texts)):
        for i, item in enumerate(items):
            if item.ndim != 2 or len(item) == 0:
                raise ValueError(f"{what}: vectors {i} are {tuple(item.shape)}")
    device = videos[0].device if videos else torch.device("cpu")
    shape = (len(videos), len(texts))
    units = torch.tensor([float(len(text)) for text in texts], device=device)
    late = torch.zeros(shape, device=device)
    ordered = torch.zeros(shape, device=device) if order else None
    pooled = torch.zeros(shape, device=device) if lone else None
    overall = torch.zeros(shape, device=device) if lone else None
    for rows in _groups([len(video) for video in videos], GROUP_FRAMES, PADDING):
        frames = pad_sequence([F.normalize(videos[v].float(), dim=-1) for v in rows], batch_first=True)
        lengths = torch.tensor([len(videos[v]) for v in rows], device=device)
        mask = torch.arange(frames.shape[1], device=device) < lengths[:, None]
        real = None if bool(mask.all()) else mask
        for columns in _groups([len(text) for text in texts], max(1, cells // mask.numel()), 1.0):
            vectors = torch.stack([texts[n] for n in columns]).to(device)
            cosines = _cosines(frames, vectors)
            where = torch.tensor(rows, device=device)[:, None], torch.tensor(columns, device=device)
            hidden = None if real is None else real[:, None]
            block = late_interaction(cosines, frame_mask=hidden)
            late[where] = block
            if ordered is not None:
                paths = order_score(cosines, frame_mask=hidden)
                ordered[where] = torch.where(paths.isinf(), block, paths)
            if pooled is not None and overall is not None and vectors.shape[1] == 1:
                pooled[where] = relevance_pooled(cosines[:, :, 0], frames, mask=real)
                overall[where] = _global_cosine(cosines[:, :, 0], frames, lengths)
    return Evidence(late, units, ordered, pooled, overall)


def _cosines(frames: Tensor, units: Tensor) -> Tensor:
    """Unit vectors (V, T, d) and vectors (N, K, d) -> (V, N, K, T); padding has cosine 0."""
    cosines = F.normalize(units.float(), dim=-1).flatten(0, 1) @ frames.transpose(1, 2)
    return cosines.unflatten(1, units.shape[:2])


def _global_cosine(cosines: Tensor, frames: Tensor, lengths: Tensor) -> Tensor:
    """Cosines (V, N, T) and unit vectors (V, T, d), both 0 in padding -> (V, N) cosine with the mean frame."""
    mean = frames.sum(dim=1) / lengths[:, None]
    return cosines.sum(dim=-1) / (lengths * mean.norm(dim=-1).clamp_min(1e-6))[:, None]


def _groups(lengths: Sequence[int], limit: int, ratio: float) -> Iterator[list[int]]:
    """Yield groups of indices of similar length, shortest first; padded to its longest, a group has at most `limit`."""
    group: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        length = lengths[item]
        if group and ((len(group) + 1) * length > limit or length > ratio * lengths[group[0]]):
            yield group
            group = []
        group.append(item)
    if group:
        yield group
