"""Search for moments, and relevance over time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from mova.errors import UsageError
from mova.models.known import seldom_detects
from mova.scoring.false_alarm import BAR, evidence
from mova.search.index import Index
from mova.search.like.example import Example
from mova.search.narrow.filter import Filter
from mova.search.narrow.trim import Trim
from mova.search.query import has_passages, query_sentences
from mova.search.second_stage.moment import RerankedMoment, Reranking
from mova.search.second_stage.reranker import Reranker
from mova.serve.engine import Needs
from mova.serve.finder import MOST, Ask
from mova.serve.held import HeldIndex
from mova.serve.library.catalog import Entry, video_id
from mova.serve.problems import NotFound, Problem
from mova.serve.routes.leaving import unless_gone
from mova.serve.schemas.fields import LARGEST_PAGE, PAGE, PLACE
from mova.serve.schemas.search import (
    RESPECT_CHARACTERS,
    MomentOut,
    Relevance,
    Respects,
    SearchAnswer,
    SearchRequest,
    SecondScore,
    SecondStage,
    SentenceOut,
)
from mova.serve.schemas.videos import Video
from mova.serve.services import Parts, Services
from mova.serve.settings import QUERY_CHARACTERS, TEXT_SENTENCES
from mova.types import Moment
from mova.utils.files import is_below, joined

NONE_LEFT = "no video passes the filter; leave out one of its conditions"
router = APIRouter(tags=["search"])
ShortText = Annotated[str, Query(min_length=1, max_length=QUERY_CHARACTERS)]


@router.post("/search", response_model_exclude_none=True)
async def search(parts: Parts, client: Request, request: SearchRequest) -> SearchAnswer:
    """Find the moments that show a sentence or a paragraph, best first."""
    return await answer(parts, client, request)


@router.get("/search", response_model_exclude_none=True)
async def search_address(
    parts: Parts,
    client: Request,
    q: ShortText,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
    cursor: Annotated[str | None, Query(pattern=PLACE)] = None,
    one_per_video: bool = False,
    false_alarm: Annotated[float, Query(gt=0, lt=1)] = BAR,
    folder: Annotated[list[str] | None, Query(max_length=100, description="As `filter` of `POST /search`.")] = None,
    after: Annotated[str | None, Query(max_length=40)] = None,
    before: Annotated[str | None, Query(max_length=40)] = None,
    longer: Annotated[str | None, Query(max_length=40)] = None,
    shorter: Annotated[str | None, Query(max_length=40)] = None,
    dedupe: bool = False,
    pad: Annotated[float, Query(ge=0, le=3600)] = 0.0,
    min_length: Annotated[float | None, Query(ge=0, le=3600)] = None,
    rerank: bool | None = None,
) -> SearchAnswer:
    """Find moments as `POST /search` does, with a short text in the address."""
    narrowed = {"folders": folder, "after": after, "before": before, "longer": longer, "shorter": shorter}
    values: dict[str, Any] = {"query": q, "limit": limit, "cursor": cursor, "one_per_video": one_per_video}
    values |= {"false_alarm": false_alarm, "filter": {name: value for name, value in narrowed.items() if value}}
    values |= {"dedupe": dedupe, "pad": pad, "min_length": min_length, "rerank": rerank}
    try:
        asked = SearchRequest(**values)
    except ValidationError as error:  # the same rules as for a body
        raise RequestValidationError(error.errors(include_url=False, include_context=False)) from error
    return await answer(parts, client, asked)


@router.get("/search/respects")
async def respects(parts: Parts) -> Respects:
    """Name the concepts that the model of the index can compare moments in."""
    return Respects(respects=await parts.engine.run(HeldIndex.respects, needs="text"))


async def answer(parts: Services, client: Request, request: SearchRequest) -> SearchAnswer:
    """Return one page of moments."""
    if request.query:
        count = len(query_sentences(request.query))  # a query that is too long is refused before it waits
        if count > TEXT_SENTENCES:
            raise Problem(f"the query has {count:,} sentences, and at most {TEXT_SENTENCES} are searched; shorten it")
    began = time.perf_counter()
    offset = int(request.cursor or 0)
    like = None if request.like is None else example(parts, request.like.video, request.like.time)
    trim = Trim(request.pad, request.min_length)
    second = second_stage(parts, request)
    ask = Ask(request.query, like, request.words, wanted(parts, request), request.by, trim, second)

    def find(
        index: HeldIndex,
    ) -> tuple[int, list[Moment], bool, float | None, Reranking | None, Mapping[str, Entry], str]:
        """Search while the index is held."""
        if not index.exists:
            raise NotFound("nothing is indexed yet; add a folder, or run `mova index PATH...`")
        searched = _count_videos(index, ask.filter)
        found = parts.finder.search(index, ask, offset + request.limit)
        return searched, *found, parts.catalog.entries(), index.meta.model

    words = request.query and (like is not None or has_passages(request.query))
    needs: Needs = "model" if words or request.by is not None else "text"
    text = request.query if like is None else ""
    # a second model takes seconds: it does not hold up the searches that are taken together
    work = parts.engine.search(text, find, needs=needs) if second is None else parts.engine.run(find, needs=needs)
    searched, moments, more, lowest, reranking, entries, model = await unless_gone(client, work)
    bar = request.false_alarm
    page = [out for moment in moments[offset:] if (out := moment_out(entries, moment, bar)) is not None]
    following = offset + request.limit
    return SearchAnswer(
        query=request.query,
        model=model,
        elapsed_seconds=round(time.perf_counter() - began, 3),
        results=page,
        next=str(following) if more and following < MOST else None,
        false_alarm=None if lowest is None else round(lowest, 6),
        evidence=None if lowest is None else evidence(lowest, bar),
        false_alarm_bar=bar,
        seldom_detects=seldom_detects(model),
        videos=searched,
        rerank=None if reranking is None else SecondStage.of_answer(reranking),
    )


def second_stage(parts: Services, request: SearchRequest) -> Reranker | None:
    """Return the second stage of a request: that of the service, unless the request has an example or declines.

    Raises:
        Problem: it asks for one that is not there, or that is not for examples.
    """
    if request.rerank and parts.settings.second is None:
        raise Problem("this service asks no second model; start it with `mova serve --rerank MODEL`")
    if request.rerank and request.like is not None:
        raise Problem("a second model is asked about texts; leave out `rerank` or `like`")
    return None if request.like is not None or request.rerank is False else parts.settings.second


def wanted(parts: Services, request: SearchRequest) -> Filter:
    """Return the filter of a request. Folders are seen from the one that holds all videos.

    Raises:
        UsageError: a date or a length cannot be read.
        Problem: a folder is outside.
    """
    values, once, dedupe = request.filter, request.one_per_video, request.dedupe
    if values is None:
        return Filter(one_per_video=once, dedupe=dedupe)
    parts.catalog.entries()
    root = parts.catalog.root
    folders = [joined(root, folder.lstrip("/\\")) for folder in values.folders]
    if not all(is_below(folder, [root]) for folder in folders):
        raise Problem(NONE_LEFT)
    dates, lengths = (values.after, values.before), (values.longer, values.shorter)
    return Filter(folders, *dates, *lengths, one_per_video=once, dedupe=dedupe)


def _count_videos(index: Index, wanted: Filter) -> int:
    """Return how many videos pass a filter.

    Raises:
        Problem: none does; the message of the index would have paths.
    """
    try:
        return len(index.videos(wanted))
    except UsageError as error:
        raise Problem(NONE_LEFT) from error


@router.get("/videos/{video}/relevance")
async def relevance(
    parts: Parts,
    client: Request,
    video: str,
    q: Annotated[str, Query(max_length=QUERY_CHARACTERS)] = "",
    like: Annotated[str | None, Query(description="Id of the video of an example.")] = None,
    t: Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False, description="Time of the example.")] = 0.0,
    by: Annotated[str | None, Query(max_length=RESPECT_CHARACTERS, description="As of `POST /search`.")] = None,
) -> Relevance:
    """Return how well each part of a video shows a text, or resembles an example."""
    if not q.strip() and like is None:
        raise Problem("name a text or an example")
    if by is not None and (like is None or q.strip()):
        raise Problem("`by` compares with an example, without a text")
    entry = parts.catalog.entry(video)
    ask = Ask(q.strip(), None if like is None else example(parts, like, t), by=by)
    needs: Needs = "text" if by is None else "model"
    work = parts.engine.search("", lambda index: parts.finder.relevance(index, ask, entry), needs=needs)
    return Relevance(**await unless_gone(client, work))


def example(parts: Services, video: str, time: float) -> Example:
    """Return a moment of an indexed video as an example.

    Raises:
        NotFound: there is no such video, or it is shorter.
    """
    entry = parts.catalog.entry(video)
    if time > entry.record.duration:
        raise NotFound(f"{entry.name} ends before {time:.2f} s")
    return Example(Path(entry.record.path), time)


def moment_out(entries: Mapping[str, Entry], moment: Moment, bar: float) -> MomentOut | None:
    """Return a moment as the API shows it; None if its video was forgotten in the meantime."""
    entry = entries.get(video_id(moment.video))
    if entry is None:
        return None
    return MomentOut(
        video=video_out(entry),
        start=round(moment.start, 3),
        end=round(moment.end, 3),
        score=round(moment.score, 6),
        thumbnail=thumbnail(entry, (moment.start + moment.end) / 2),
        false_alarm=None if moment.false_alarm is None else round(moment.false_alarm, 6),
        evidence=None if moment.false_alarm is None else evidence(moment.false_alarm, bar),
        sentences=[SentenceOut(**row.to_json()) for row in moment.sentences] or None,
        rerank=SecondScore(**moment.to_json()["rerank"]) if isinstance(moment, RerankedMoment) else None,
    )


def video_out(entry: Entry) -> Video:
    """Return a video as the API shows it."""
    return Video(
        id=entry.id,
        name=printable_name(entry.name),
        folder=printable_name(entry.folder),
        duration=round(entry.record.duration, 3),
        version=entry.version,
    )


def thumbnail(entry: Entry, time: float) -> str:
    """Return the address of the picture at a time. It names the content, so that browsers may keep it."""
    values = urlencode({"t": f"{time:.2f}", "v": entry.version})
    return f"/api/v1/videos/{entry.id}/thumbnail?{values}"


def printable_name(name: str) -> str:
    """Replace the bytes of a name that are not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
