"""Ask another model about clips: a video LLM whether they show a text, or a dual encoder how well.

Shape legend: n clips, S sentences.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from mova.models.encoder import DualEncoder
from mova.models.entailment import EntailmentModel
from mova.types import Moment


class SecondModel(ABC):
    """A model that is asked about clips of any length.

    Attributes:
        name: display name.
        kind: what the scores are: "log-odds" or "similarity".
        batch: number of clips that are scored together.
        model: the model; it decodes files, see `mova.video.isolated.Decoding`.
    """

    name: str
    kind: str
    batch: int
    model: Any

    @abstractmethod
    def read(self, moment: Moment) -> Any:
        """Read the clip of a moment, from its start to its end.

        Raises:
            VideoError: the file cannot be read there.
        """

    @abstractmethod
    def score(self, clips: Sequence[Any], sentences: Sequence[str]) -> list[float]:
        """Return how well each of n clips shows all S sentences; higher is better."""


class Entailment(SecondModel):
    """A video LLM: the mean, over the sentences, of the log-odds of Yes (SynViTA, Zanella et al. 2025, Eq. 1).

    Args:
        model: the video LLM.
        batch: number of clips that run together.

    >>> from mova.models.registry import load_video_llm
    >>> second = Entailment(load_video_llm("tiny-video-llm", max_frames=2), batch=2)  # random weights
    >>> clips = [second.read(Moment("film.mp4", start, start + 2.0, 0.5)) for start in (0.0, 4.0)]
    >>> len(second.score(clips, ["Two black discs shrink."]))
    2
    """

    kind = "log-odds"

    def __init__(self, model: EntailmentModel, batch: int = 4) -> None:
        self.model: EntailmentModel = model
        self.name, self.batch = model.name, batch

    def read(self, moment: Moment) -> Any:
        """See `SecondModel.read`; the model's own number of frames."""
        return self.model.prepare(self.model.sample(moment.video, moment.start, moment.end))

    def score(self, clips: Sequence[Any], sentences: Sequence[str]) -> list[float]:
        """See `SecondModel.score`."""
        from mova.models.video_llm.batches import log_odds_table

        scores: list[float] = log_odds_table(self.model, clips, sentences).mean(dim=1).tolist()
        return scores


class Similarity(SecondModel):
    """A dual encoder: its score of a whole text, over frames at its own rate.

    That is the evidence rule of the model, or the cosine of pooled vectors if that is the model's scoring form.

    Args:
        model: the dual encoder.

    >>> import mova
    >>> second = Similarity(mova.load("mova-worlds-tiny"))
    >>> clips = [second.read(Moment("film.mp4", start, start + 3.0, 0.5)) for start in (3.0, 6.5)]
    >>> first, other = second.score(clips, ["Two black discs shrink."])
    >>> first > other
    True
    """

    kind, batch = "similarity", 1

    def __init__(self, model: DualEncoder) -> None:
        self.model: DualEncoder = model
        self.name = model.name

    def read(self, moment: Moment) -> Any:
        """See `SecondModel.read`; the clip is encoded."""
        return self.model.encode_video(moment.video, start=moment.start, end=moment.end)

    def score(self, clips: Sequence[Any], sentences: Sequence[str]) -> list[float]:
        """See `SecondModel.score`."""
        import torch

        text = " ".join(sentences)
        with torch.inference_mode():
            if self.model.scoring_form == "global":
                table = self.model.similarity(clips, self.model.encode_sentences(text))
            else:
                table = self.model.score(list(clips), [text])
        scores: list[float] = table[:, 0].float().cpu().tolist()
        return scores


def second_model(model: DualEncoder | EntailmentModel, batch: int = 4) -> SecondModel:
    """Return a loaded model as the second stage of a search."""
    return Entailment(model, batch) if isinstance(model, EntailmentModel) else Similarity(model)
