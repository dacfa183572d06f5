"""The documents of the API: what clients send and get."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from mova.scoring.false_alarm import BAR
from mova.search.query import MAX_CHARACTERS

PAGE = 24
"""Results per page, by default."""
LARGEST_PAGE = 100
RESPECT_CHARACTERS = 500
"""Of a concept or its values."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_CHARACTERS)]
Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
VideoId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{20}$")]
ShortValue = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)]
Respect = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=RESPECT_CHARACTERS)]
Cursor = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}$")]


class Request(BaseModel):
    """Base of request bodies: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


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

    query: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_CHARACTERS)] = Field(
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
    cursor: Cursor | None = Field(None, description="`next` of the previous page.")
    one_per_video: bool = Field(False, description="Only the best moment of each video.")
    dedupe: bool = Field(False, description="Leave out moments that show nearly the same as a better one.")
    pad: Annotated[float, Field(ge=0, le=3600, description="Seconds added before and after each moment.")] = 0.0
    min_length: Annotated[float, Field(ge=0, le=3600)] | None = Field(
        None, description="Shorter moments are widened to this many seconds; default: one sampling step."
    )
    filter: FilterRequest | None = Field(None, description="Which videos are searched.")

    @model_validator(mode="after")
    def _asks_for_something(self) -> SearchRequest:
        if not self.query and self.like is None:
            raise ValueError("the query is empty; write what the video shows")
        if self.by is not None and self.like is None:
            raise ValueError("`by` compares with an example; name one with `like`")
        return self


class Video(BaseModel):
    """An indexed video."""

    id: VideoId = Field(examples=["3f0c9a7be12d4f5560aa"])
    name: str = Field(examples=["beach.mp4"])
    folder: str = Field(description="Folder, from the folder that holds all videos.", examples=["2024/summer"])
    duration: float = Field(description="Seconds.", examples=[93.4])
    version: str = Field(description="Changes with the content of the file.", examples=["5d2b0c1e77aa"])


class SentenceOut(BaseModel):
    """A sentence of a paragraph inside a moment."""

    text: str
    start: float
    end: float
    posterior: float


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


class SearchAnswer(BaseModel):
    """One page of moments, best first."""

    query: str
    model: str
    elapsed_seconds: float
    results: list[MomentOut]
    next: Cursor | None = Field(None, description="Cursor of the next page, if there is one.")
    false_alarm: float | None = Field(None, description="The lowest of all moments.")
    evidence: Literal["strong", "weak", "none"] | None = Field(None, description='"none": only the nearest moments.')
    false_alarm_bar: float = Field(description="Highest rate that counts as evidence.")
    seldom_detects: float | None = Field(None, description="Share of shown texts with evidence at 5 %, if it is low.")
    videos: int = Field(description="Videos that were searched.")


class VideoPage(BaseModel):
    """One page of the indexed videos, in order of path."""

    videos: list[Video]
    total: int
    duration: float = Field(description="Seconds of all videos together.")
    next: Cursor | None = None


class Relevance(BaseModel):
    """How well each part of a video shows a text."""

    times: list[float] = Field(description="Start of each part, seconds.")
    values: list[float] = Field(description="Highest cosine in each part.")
    low: float = Field(description="Mean over all indexed frames: no relation.")
    high: float = Field(description="The best in the index.")


class Respects(BaseModel):
    """The concepts in which moments can be compared with an example."""

    respects: list[str] = Field(examples=[["animal", "color", "place"]])


class AlignRequest(Request):
    """A caption to align with a video."""

    text: Text = Field(examples=["A dog runs to a ball. It brings the ball back."])
    order: Literal["auto", "yes", "no"] = Field("auto", description="Whether the sentences are in temporal order.")


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


class JobRequest(Request):
    """A folder to add, or, without one, an update of everything that the index was made from."""

    folder: VideoId | None = Field(None, description="Id from `/folders`.")


class FailedFile(BaseModel):
    """A file that could not be read."""

    name: str
    cause: str


class JobOut(BaseModel):
    """A job and where it stands."""

    id: str
    kind: Literal["add", "update"]
    name: str = Field(description="The folder.")
    state: Literal["queued", "running", "paused", "done", "failed", "cancelled"]
    created: float = Field(description="Seconds since 1970.")
    ended: float
    file: str = Field(description="The present file.")
    done: float = Field(description="Seconds of video.")
    total: float = Field(description="Seconds of video.")
    counts: dict[str, int] = Field(description="Files by outcome, at the end.")
    failed: list[FailedFile]
    message: str


class FolderOut(BaseModel):
    """A folder that may be added."""

    id: str
    name: str


class FolderPage(BaseModel):
    """The folders at the top, or inside of another."""

    folders: list[FolderOut]
    videos: int = Field(description="Videos directly in the folder.")


class RootOut(BaseModel):
    """A file or folder that the index was made from."""

    id: str
    path: str
    videos: int = Field(description="Indexed videos at or below it.")
    present: bool


class IndexedFolder(BaseModel):
    """A folder with indexed videos, as `filter` of a search names it."""

    name: str = Field(examples=["2024/summer"])
    videos: int = Field(description="Indexed videos at or below it.")


class LibraryOut(BaseModel):
    """What is indexed, from where, and what is missing."""

    model: str | None
    videos: int
    frames: int
    duration: float = Field(description="Seconds.")
    bytes: int | None = Field(description="Size of the index on disk.")
    updated: str = Field(description="End of the last run, ISO 8601; empty if not known.")
    roots: list[RootOut]
    folders: list[IndexedFolder] = Field(description="Folders below the one that holds all videos.")
    failed: list[FailedFile]
    missing: list[str] = Field(description="Names of indexed files that do not exist at present.")


class Forgotten(BaseModel):
    """What was removed from the index; files are never touched."""

    videos: int


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


class Health(BaseModel):
    """Whether the service works."""

    status: str = Field(examples=["ok"])
    version: str
    model: str | None = Field(description="Model of the index; null if there is no index yet.")
    model_state: str = Field(examples=["ready"])
    videos: int
    message: str | None = Field(None, description="What is wrong, if anything.")


class ErrorBody(BaseModel):
    """An error."""

    status: int
    message: str
    details: list[dict[str, Any]] | None = None


class ErrorAnswer(BaseModel):
    """The document of every answer with a status from 400 on."""

    error: ErrorBody
