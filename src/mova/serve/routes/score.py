"""Score captions against a video."""

from __future__ import annotations

from fastapi import APIRouter, Request

from mova.serve.held import HeldIndex
from mova.serve.library.catalog import Entry
from mova.serve.problems import Gone, Problem
from mova.serve.routes.leaving import unless_gone
from mova.serve.schemas.align import ScoreAnswer, ScoreRequest, SentenceScoreOut, TextScore
from mova.serve.services import Parts
from mova.text.units import sentences_or_windows

router = APIRouter(tags=["align"])
MOST_SENTENCES = 400
"""Sentences of all texts of one request; more would hold up other requests for long."""


@router.post("/score")
async def score(parts: Parts, client: Request, request: ScoreRequest) -> ScoreAnswer:
    """Score how well an indexed video shows captions, each as a whole and sentence by sentence."""
    entry = parts.catalog.entry(request.video)
    count = sum(len(sentences_or_windows(text)) for text in request.texts)
    if count > MOST_SENTENCES:
        raise Problem(
            f"the texts have {count:,} sentences, and at most {MOST_SENTENCES} are scored at once; send fewer"
        )
    work = parts.engine.run(lambda index: _scores(index, entry, request.texts))
    return ScoreAnswer(video=entry.id, model=parts.catalog.model_name or "", scores=await unless_gone(client, work))


def _scores(index: HeldIndex, entry: Entry, texts: list[str]) -> list[TextScore]:
    from mova.search.score import score_embedding  # it imports torch

    stored = index.stored(entry.record.path)
    if stored is None:
        raise Gone(f"{entry.name}: was moved, deleted or changed since it was indexed")
    scores = []
    for text in texts:
        sentences, total = score_embedding(index.model, stored, text)
        rows = [
            SentenceScoreOut(
                text=row.text, score=round(row.score, 6), shown=None if row.shown is None else round(row.shown, 4)
            )
            for row in sentences
        ]
        scores.append(TextScore(text=text, score=round(total, 6), sentences=rows))
    return scores
