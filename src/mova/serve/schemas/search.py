"""Documents of searches and of chosen moments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, model_validator

from mova.scoring.false_alarm import BAR
from mova.search.second_stage.moment import Reranking
from mova.serve.schemas.fields import LARGEST_PAGE, PAGE, PLACE, Request, Seconds, VideoId
from mova.serve.schemas.videos import Video
from mova.serve.settings import TEXT_CHARACTERS

RESPECT_CHARACTERS = 500
"""Of a concept or its values."""

Place = Annotated[str, StringConstraints(pattern=PLACE)]
ShortValue = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)]
Respect = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=RESPECT_CHARACTERS)]


class LikeExample(Request):
    """A moment of an indexed video."""

    video: VideoId
    time: Seconds = Field(description="Seconds.", examples=[12.5])


class FilterRequest(Request):
    """Which videos are searched; a moment is from one that passes all that is given."""

    folders: list[Annotated[str, StringConstraints(min_length=1, max_length=4096)]] = Field(
        [],
        max_length=100,
        description="Folders or files, from the folder that holds all videos, as in `folder` of a video.",
        examples=[["2024/summer"]],
    )
    after: ShortValue | None = Field(None, description="Modified at this time or later.", examples=["2024-05-01"])
    before: ShortValue | None = Field(None, description="Modified earlier.", examples=["2025"])
    longer: ShortValue | Seconds | None = Field(None, description="Least length: 90, 1:30 or 10m.", examples=["1:30"])
    shorter: ShortValue | Seconds | None = Field(None, description="Greatest length, likewise.", examples=[600])


class SearchRequest(Request):
    """A text to search for, a moment that the results resemble, or both."""

    query: Annotated[str, StringConstraints(strip_whitespace=True, max_length=TEXT_CHARACTERS)] = Field(
        "", examples=["a dog runs after a ball"]
    )
    like: LikeExample | None = None
    words: Annotated[float, Field(ge=0, le=1, description="Weight of the text beside an example.")] = 0.5
    by: Annotated[
        Respect | None,
        Field(
            description="What moments share with an example without a text: a concept of `/search/respects`, or its "
            "values, with commas between them.",
            examples=["color", "a dog, a cat, a bird"],
        ),
    ] = None
    false_alarm: Annotated[
        float, Field(gt=0, lt=1, description="Highest false-alarm rate that counts as evidence.", examples=[0.05])
    ] = BAR
    limit: int = Field(PAGE, ge=1, le=LARGEST_PAGE, description="Results per page.")
    cursor: Place | None = Field(None, description="`next` of the previous page.")
    one_per_video: bool = Field(False, description="Only the best moment of each video.")
    dedupe: bool = Field(False, description="Leave out moments that show nearly the same as a better one.")
    pad: Annotated[float, Field(ge=0, le=3600, description="Seconds added before and after each moment.")] = 0.0
    min_length: Annotated[float, Field(ge=0, le=3600)] | None = Field(
        None, description="Shorter moments are widened to this many seconds; default: one sampling step."
    )
    filter: FilterRequest | None = Field(None, description="Which videos are searched.")
    rerank: bool | None = Field(
        None, description="Whether the second model of the service is asked; default: if it has one, and for texts."
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> SearchRequest:
        if not self.query and self.like is None:
            raise ValueError("the query is empty; write what the video shows")
        if self.by is not None and self.like is None:
            raise ValueError("`by` compares with an example; name one with `like`")
        return self


class SentenceOut(BaseModel):
    """A sentence of a paragraph inside a moment."""

    text: str
    start: float
    end: float
    posterior: float


class SecondScore(BaseModel):
    """What a second model says about a moment."""

    score: float = Field(description="Mean log-odds of Yes, or a similarity: `kind` of the answer's `rerank`.")
    rank: int = Field(description="By this score, among the moments that it was asked about.")
    first_rank: int = Field(description="By the first score.")
    mixed: float = Field(description="What the moments are ranked by.")


class SecondStage(BaseModel):
    """What a second model was asked for an answer."""

    model: str
    kind: Literal["log-odds", "similarity", ""] = Field(description="Of its scores; empty if it was not asked.")
    weight: float = Field(description="Share of its scores, from 0 to 1.")
    source: Literal["measured", "given", "default"] = Field(description="Where the weight is from.")
    asked: int = Field(description="Moments that it was asked about.")
    of: int = Field(description="Moments that it was to be asked about.")
    seconds: float
    unreadable: int = Field(description="Clips that could not be read.")
    ended_early: bool = Field(description="Whether the time was over before.")

    @classmethod
    def of_answer(cls, done: Reranking) -> SecondStage:
        """Return it without paths of this machine."""
        values = done.to_json() | {"model": Path(done.model).name, "unreadable": len(done.unreadable)}
        return cls(**{name: values[name] for name in cls.model_fields})


class MomentOut(BaseModel):
    """A part of a video that matches a query."""

    video: Video
    start: float = Field(description="Seconds.", examples=[12.0])
    end: float = Field(description="Seconds.", examples=[17.0])
    score: float = Field(description="Comparable within one model only.", examples=[0.31])
    thumbnail: str = Field(description="Address of a picture.", examples=["/api/v1/videos/3f0c.../thumbnail?t=13.5"])
    false_alarm: float | None = Field(
        None, description="How often a text that no video here shows finds a moment that scores this high."
    )
    evidence: Literal["strong", "weak", "none"] | None = Field(None, description="Word for that rate.")
    sentences: list[SentenceOut] | None = Field(None, description="Of a paragraph in temporal order.")
    rerank: SecondScore | None = Field(None, description="If a second model was asked about it.")


class SearchAnswer(BaseModel):
    """One page of moments, best first."""

    query: str
    model: str
    elapsed_seconds: float
    results: list[MomentOut]
    next: Place | None = Field(None, description="Cursor of the next page, if there is one.")
    false_alarm: float | None = Field(None, description="The lowest of all moments.")
    evidence: Literal["strong", "weak", "none"] | None = Field(None, description='"none": only the nearest moments.')
    false_alarm_bar: float = Field(description="Highest rate that counts as evidence.")
    seldom_detects: float | None = Field(None, description="Share of shown texts with evidence at 5 %, if it is low.")
    videos: int = Field(description="Videos that were searched.")
    rerank: SecondStage | None = Field(None, description="If the service has a second model.")


class Relevance(BaseModel):
    """How well each part of a video shows a text."""

    times: list[float] = Field(description="Start of each part, seconds.")
    values: list[float] = Field(description="Highest cosine in each part.")
    low: float = Field(description="Mean over all indexed frames: no relation.")
    high: float = Field(description="The best in the index.")


class Respects(BaseModel):
    """The concepts in which moments can be compared with an example."""

    respects: list[str] = Field(examples=[["animal", "color", "place"]])


class ChosenMoment(Request):
    """A moment to export."""

    video: VideoId
    start: Seconds
    end: Seconds
    label: Annotated[str, StringConstraints(max_length=1000)] = ""


class CollectRequest(Request):
    """Moments to export, in their order."""

    format: Literal["zip", "csv", "edl", "otio", "srt"]
    moments: list[ChosenMoment] = Field(min_length=1, max_length=200)
