"""Configuration of a GEXIA."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self, get_args

from transformers import PreTrainedConfig

from mova.data.granularity import GRANULARITIES, LengthRule
from mova.errors import UsageError

ROUNDS = {"image": 0, "short": 1, "long": 3}
"""`#iter` by size (Wang et al. 2024, section 4.1 and App. F)."""
FRAMES = {"image": 1, "short": 16, "long": 32}
"""Frames of a video by size (section 4.1)."""
TEMPERATURE = 0.07
"""tau at the start of training (section 4.1)."""
Temperatures = Literal["one", "granularity"]
SHAPES = ("bases", "width", "heads", "class_token", "temperatures")
"""Settings that define what weights mean: later stages of training cannot change them."""


class GexiaConfig(PreTrainedConfig):
    """Configuration of a backbone and of the approximation around it.

    The paper specifies neither N nor D nor the number of heads; 32 vectors of the backbone's shared width are ours.

    Attributes:
        backbone: configuration of the backbone as a dictionary, including its `model_type`.
        bases: N, base vectors of each modality.
        width: D, of base vectors and of all vectors that the model returns; None: the backbone's shared width.
        heads: attention heads, divides D.
        rounds: `#iter` by size: "image", "short", "long".
        frames: maximum number of frames of a video's vector, by size.
        long_seconds, long_words: from which length on videos and texts are long by default, see `LengthRule`.
        video_rounds, text_rounds: one `#iter` for all videos or texts, as in Table 10 for each data set; None: by size.
            Videos then have the frames of the size with as many rounds. Training on one granularity sets them.
        frame_rounds: `#iter` of single frames, for finding sentences in a video. Use 0 once the model was trained on
            images; before that the unrolled round was never trained to be the only one.
        class_token: whether dense features include the backbone's class token, if it has one.
        temperatures: one learnable tau, or one for each "granularity".
        labels: class names of the linear head on the video branch; empty: no head.
        multiple_labels: a video may have several labels (or none).
        relevance_threshold, units, rule: see `DualEncoder`; the last two as dictionaries, None is the default.

    Raises:
        UsageError: a setting that does not exist or cannot be.
    """

    model_type = "mova-gexia"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        bases: int = 32,
        width: int | None = None,
        heads: int = 8,
        rounds: Mapping[str, int] | None = None,
        frames: Mapping[str, int] | None = None,
        long_seconds: float = LengthRule.seconds,
        long_words: int = LengthRule.words,
        video_rounds: int | None = None,
        text_rounds: int | None = None,
        frame_rounds: int = 1,
        class_token: bool = True,
        temperatures: Temperatures = "one",
        labels: list[str] | None = None,
        multiple_labels: bool = False,
        relevance_threshold: float | None = None,
        units: dict[str, int] | None = None,
        rule: dict[str, float | None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone or {}
        self.bases = bases
        self.width = width
        self.heads = heads
        self.rounds = _by_size("rounds", ROUNDS, rounds, least=0)
        self.frames = _by_size("frames", FRAMES, frames, least=1)
        self.long_seconds = long_seconds
        self.long_words = long_words
        self.video_rounds = video_rounds
        self.text_rounds = text_rounds
        self.frame_rounds = frame_rounds
        self.class_token = class_token
        self.temperatures = temperatures
        self.labels = list(labels or [])
        self.multiple_labels = multiple_labels
        self.relevance_threshold = relevance_threshold
        self.units = units
        self.rule = rule
        self._check()
        super().__init__(**kwargs)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], named: Iterable[str]) -> Self:
        """Return a configuration of settings, after checking the names that the user has given.

        Raises:
            UsageError: an unknown name, or an impossible value.
        """
        excluded = {"self", "backbone", "kwargs", "relevance_threshold", "units", "rule", "labels", "multiple_labels"}
        known = [name for name in inspect.signature(cls.__init__).parameters if name not in excluded]
        unknown = sorted(set(named) - set(known))
        if unknown:
            raise UsageError(f"GEXIA has no setting {', '.join(unknown)}; choose from {', '.join(known)}")
        return cls(**settings)

    def _check(self) -> None:
        LengthRule(self.long_seconds, self.long_words)
        if self.temperatures not in get_args(Temperatures):
            known = ", ".join(get_args(Temperatures))
            raise UsageError(f"temperatures {self.temperatures!r} are unknown; choose from {known}")
        if self.bases < 1:
            raise UsageError(f"bases must be 1 or more, not {self.bases}")
        for name in ("video_rounds", "text_rounds", "frame_rounds"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"{name} must be 0 or more, not {value}")

    def follow(self, frames: Mapping[str, int]) -> None:
        """Set the number of frames and `#iter` for inference to those of training.

        If one granularity alone is trained, its `#iter` becomes that of all videos and texts, as in Table 10 for each
        data set. Images can be distinguished from videos, so they keep their own.

        Args:
            frames: number of frames of a video, by the granularities that are trained.
        """
        most: dict[str, int] = {}
        for name, count in frames.items():
            size = GRANULARITIES[name].video
            most[size] = max(count, most.get(size, 0))
        self.frames = {**self.frames, **most}
        if len(frames) == 1 and "image" not in most:
            self.video_rounds, self.text_rounds = self.rounds_of(*frames)

    def frame_size(self, size: str) -> str:
        """Return the size whose number of frames a video of a size has: that with as many rounds, if all have the same.

        >>> GexiaConfig(video_rounds=3).frame_size("short"), GexiaConfig().frame_size("short")
        ('long', 'short')
        """
        if self.video_rounds is None or size == "image":
            return size
        same = (name for name in (size, "short", "long") if self.rounds[name] == self.video_rounds)
        return next(same, size)

    def set_rounds(self, video: int, text: int) -> None:
        """Set `#iter` of all videos and texts for inference; numbers of frames stay (Table 4b).

        Raises:
            UsageError: a negative number.

        >>> config = GexiaConfig(video_rounds=3)
        >>> config.set_rounds(1, 1)
        >>> config.frames[config.frame_size("short")], config.chosen_rounds
        (32, '1-1')
        """
        if video < 0 or text < 0:
            raise UsageError(f"numbers of rounds must be 0 or more, not {video} and {text}")
        self.frames = {**self.frames, **{size: self.frames[self.frame_size(size)] for size in ("short", "long")}}
        self.rounds = {**self.rounds, "short": video, "long": video}
        self.video_rounds, self.text_rounds = video, text

    @property
    def chosen_rounds(self) -> str | None:
        """`#iter` of all videos and all texts, as "3-1"; None if it depends on their length."""
        if self.video_rounds is None or self.text_rounds is None:
            return None
        return f"{self.video_rounds}-{self.text_rounds}"

    @property
    def lengths(self) -> LengthRule:
        """Lengths from which on videos and texts are long by default."""
        return LengthRule(self.long_seconds, self.long_words)

    def rounds_of(self, granularity: str) -> tuple[int, int]:
        """Return `#iter` of the video and of the text of a pair.

        >>> GexiaConfig().rounds_of("LVLT")
        (3, 3)
        """
        sizes = GRANULARITIES[granularity]
        video = self.rounds[sizes.video] if self.video_rounds is None else self.video_rounds
        return video, self.rounds[sizes.text] if self.text_rounds is None else self.text_rounds


def _by_size(name: str, default: dict[str, int], numbers: Mapping[str, int] | None, least: int) -> dict[str, int]:
    """Return one number per size: the given ones over the defaults."""
    unknown = sorted(set(numbers or {}) - set(default))
    if unknown:
        raise UsageError(f"{name} has no setting {', '.join(unknown)}; choose from {', '.join(default)}")
    merged = {**default, **(numbers or {})}
    if any(not isinstance(value, int) or value < least for value in merged.values()):
        raise UsageError(f"{name} must be integers >= {least}, not {merged}")
    return merged
