"""Documents of alignments, their corrections, and scores."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from mova.serve.schemas.fields import Request, Seconds, Text, VideoId


class AlignRequest(Request):
    """A caption to align with a video."""

    text: Text = Field(examples=["A dog runs to a ball. It brings the ball back."])
    order: Literal["auto", "yes", "no"] = Field("auto", description="Whether the sentences are in temporal order.")


class SpanOut(BaseModel):
    """A part of a video that a sentence describes."""

    start: float
    end: float
    score: float = Field(description="Highest cosine in it.")
    posterior: float | None = Field(None, description="Probability that a moment of it shows the sentence.")


class AlignedSentence(BaseModel):
    """A sentence of a caption on the time axis."""

    text: str
    shown: float | None = Field(None, description="Probability that the video shows it at all.")
    spans: list[SpanOut]
    likely: SpanOut | None = Field(None, description="Most probable place of a sentence that is probably not shown.")
    posterior: list[float] = Field(description="Per bin: probability that it shows the sentence.")


class Stretch(BaseModel):
    """A part of a video."""

    start: float
    end: float


class AlignmentOut(BaseModel):
    """A caption aligned with a video."""

    id: str = Field(description="For export and correction; remembered for a while.")
    duration: float
    times: list[float] = Field(description="Start of each bin, seconds.")
    sentences: list[AlignedSentence]
    uncovered: list[Stretch] = Field(description="Parts that no sentence describes.")
    order: Literal["ordered", "partly", "free"] | None = None


CorrectedSpans = Annotated[
    list[Annotated[list[tuple[Seconds, Seconds]], Field(max_length=1000)]], Field(max_length=1000)
]


class ExportRequest(Request):
    """A format, and corrected spans if there are some."""

    format: Literal["json", "png", "srt", "vtt", "csv", "chapters", "otio"]
    spans: CorrectedSpans | None = Field(None, description="Start and end of the spans of each sentence.")


class CorrectionRequest(Request):
    """Corrected spans."""

    spans: CorrectedSpans = Field(description="Start and end of the spans of each sentence.")


class CorrectionOut(BaseModel):
    """Where a correction was saved."""

    row: str = Field(description="Id of the row of the manifest.")
    rows: int = Field(description="Rows of the manifest.")
    manifest: str = Field(description="File, as a path of the service.")


class TextFile(Request):
    """A file of subtitles or plain text."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)] = Field(examples=["film.srt"])
    content: Annotated[str, StringConstraints(max_length=4_000_000)]


class CaptionOut(BaseModel):
    """The text of a file."""

    text: str


class ScoreRequest(Request):
    """Captions to score against a video."""

    video: VideoId = Field(examples=["3f0c9a7be12d4f5560aa"])
    texts: list[Text] = Field(
        min_length=1, max_length=32, examples=[["A dog runs to a ball. It brings the ball back.", "A cat sleeps."]]
    )


class SentenceScoreOut(BaseModel):
    """The score of a sentence of a caption."""

    text: str
    score: float = Field(description="Highest cosine with any frame.")
    shown: float | None = Field(None, description="Probability that the video shows it at all.")


class TextScore(BaseModel):
    """The score of a caption."""

    text: str
    score: float = Field(description="Of the caption as a whole, by the model's rule; compares within one model only.")
    sentences: list[SentenceScoreOut]


class ScoreAnswer(BaseModel):
    """Scores in the order of the texts."""

    video: VideoId
    model: str
    scores: list[TextScore]
