"""A text, or a file of texts, scored against videos by either kind of model.

A video LLM says f(V, t), a probability. A two-tower model says how similar the best frame is to a sentence, and one
number in all by its evidence rule: these rank, they are no probabilities.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mova.data.pair_list import VideoText
from mova.errors import UsageError, VideoError
from mova.models.encoder import DECODE_CHUNK, DualEncoder, VideoEmbedding
from mova.models.entailment import EntailmentModel
from mova.models.registry import load_any
from mova.text.units import sentences_or_windows
from mova.video.reader import stream

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""(video, pairs done, pairs in all)."""


class Scorer(ABC):
    """What both kinds of model have in common.

    Attributes:
        name: of the model.
        probability: whether scores are probabilities.
    """

    name: str
    probability: bool

    @abstractmethod
    def score_text(self, video: str | Path, text: str) -> tuple[list[tuple[str, float]], float]:
        """(sentence, score) in order, and the score of the text as a whole."""

    @abstractmethod
    def score_texts(
        self, video: str | Path, texts: Sequence[str], start: float = 0.0, end: float | None = None
    ) -> list[float]:
        """One score a text, each as a whole, for `[start, end)` seconds of a video."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Equal fingerprints give equal scores."""


class EntailmentScorer(Scorer):
    """f(V, t) of a video LLM; the text as a whole is one more description, not the mean of its sentences."""

    probability = True

    def __init__(self, model: EntailmentModel) -> None:
        self.model, self.name = model, model.name

    def score_text(self, video: str | Path, text: str) -> tuple[list[tuple[str, float]], float]:
        """Sentences and the whole text behind one pass over the video."""
        sentences = sentences_or_windows(text)
        whole = [] if [text.strip()] == sentences else [text]
        scores = self.model.scores(video, [*sentences, *whole]).tolist()
        return list(zip(sentences, scores[: len(sentences)], strict=True)), scores[-1]

    def score_texts(
        self, video: str | Path, texts: Sequence[str], start: float = 0.0, end: float | None = None
    ) -> list[float]:
        """All texts behind one pass over the video."""
        return self.model.scores(self.model.sample(video, start, end), texts).tolist()

    def fingerprint(self) -> str:
        """Of weights, question and frames."""
        return self.model.fingerprint()


class SimilarityScorer(Scorer):
    """A two-tower model: the best frame's cosine a sentence, the evidence rule (or the mean) in all."""

    probability = False

    def __init__(self, model: DualEncoder) -> None:
        self.model, self.name = model, model.name

    def score_text(self, video: str | Path, text: str) -> tuple[list[tuple[str, float]], float]:
        """See `mova.search.score.score_caption`."""
        return score_caption(self.model, video, text)

    def score_texts(
        self, video: str | Path, texts: Sequence[str], start: float = 0.0, end: float | None = None
    ) -> list[float]:
        """All texts against vectors of one pass over the video."""
        embedding = self._encode(video, start, end)
        return [score_embedding(self.model, embedding, text)[1] for text in texts]

    def fingerprint(self) -> str:
        """Of weights and preprocessing."""
        return self.model.fingerprint()

    def _encode(self, video: str | Path, start: float, end: float | None) -> VideoEmbedding:
        if start == 0 and end is None:
            return self.model.encode_video(video)
        chunks = stream(video, fps=self.model.sampling_rate(), start=start, end=end, chunk=DECODE_CHUNK)
        parts = list(self.model.encode_stream(chunks))
        if not parts:
            raise VideoError(video, f"has no frame in [{start:g}, {end if end is None else f'{end:g}'}) seconds")
        times = np.concatenate([times for times, _ in parts])
        return VideoEmbedding(torch.cat([vectors for _, vectors in parts]), times, float(times[-1]))


def score_caption(
    model: DualEncoder, video: str | Path, text: str, *, fps: float | None = None
) -> tuple[list[tuple[str, float]], float]:
    """How well a video shows each sentence of a text, and the text as a whole.

    Returns:
        (sentence, its highest cosine with any sampled frame) in order, and one number in all: by the model's evidence
        rule where one was chosen on validation data, else the mean of the sentences.

    Raises:
        UsageError: the text holds no words, or the rate makes no sense.
        VideoError: the file cannot be read.
    """
    return score_embedding(model, model.encode_video(video, fps), text)


def score_embedding(model: DualEncoder, video: VideoEmbedding, text: str) -> tuple[list[tuple[str, float]], float]:
    """`score_caption` of a video that is encoded already.

    Raises:
        UsageError: the text holds no words.
    """
    sentences = sentences_or_windows(text)
    best = model.relevance(model.encode_text(sentences), video).max(dim=1).values
    total = best.mean() if model.rule.plain else model.score([video], text)[0, 0]
    return list(zip(sentences, best.tolist(), strict=True)), float(total)


def load_scorer(name_or_path: str | Path, **options: Any) -> Scorer:
    """The scorer of a model of either kind.

    Args:
        name_or_path, options: see `mova.models.registry.load_any`.

    Raises:
        UsageError: an option of video LLMs for a two-tower model.
        ModelError: it cannot be found or loaded.
    """
    model = load_any(name_or_path, **options)
    return EntailmentScorer(model) if isinstance(model, EntailmentModel) else SimilarityScorer(model)


@dataclass
class PairReport:
    """What came of a file of pairs.

    Attributes:
        rows: of every scored pair: `{"video", "text", "score"}`, with `start` and `end` where the pair has them.
        resumed: how many of them stood in the output already.
        broken: (video, cause) of every video that could not be read; its pairs have no row.
        refused: (text, cause) of every text that could not be asked about.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    resumed: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def score_pairs(
    scorer: Scorer, pairs: Sequence[VideoText], *, out: str | Path | None = None, progress: Progress | None = None
) -> PairReport:
    """Score every pair; texts of one video share one pass over it.

    Args:
        scorer: from `load_scorer`.
        pairs: in any order.
        out: JSON lines, a line a pair, written as they come. If it exists, what stands there is not scored again; a
            last line that was cut off is.
        progress: called after each video.

    Raises:
        UsageError: `out` was written by another model.
    """
    report = PairReport()
    mark = scorer.fingerprint()[:16] if out is not None else ""
    known = _resume(Path(out), mark) if out is not None else {}
    places = {pair: place for place, pair in enumerate(pairs)}
    scored = {pair: known[_key(pair)] for pair in pairs if _key(pair) in known}
    report.resumed = len(scored)
    left = sorted((p for p in places if p not in scored), key=lambda p: (_clip(p), places[p]))
    clips = [list(group) for _, group in groupby(left, key=_clip)]
    done = len(scored)
    for group in sorted(clips, key=lambda group: places[group[0]]):
        fresh = _score_clip(scorer, group, report)
        scored |= fresh
        done += len(group)
        if out is not None:
            _append(Path(out), [_row(pair, score) | {"fingerprint": mark} for pair, score in fresh.items()])
        if progress is not None:
            progress(group[0].video, done, len(places))
    report.rows = [_row(pair, scored[pair]) for pair in places if pair in scored]
    return report


def _score_clip(scorer: Scorer, group: Sequence[VideoText], report: PairReport) -> dict[VideoText, float]:
    """Scores of pairs of one clip; what fails is told in the report."""
    first = group[0]
    start, end = first.start or 0.0, first.end
    texts = [pair.text for pair in group]
    try:
        return dict(zip(group, scorer.score_texts(first.path, texts, start, end), strict=True))
    except VideoError as error:
        logger.warning("skipped %s", error)
        report.broken.append((first.video, error.cause))
        return {}
    except UsageError as error:
        if len(group) == 1:
            logger.warning("skipped a text: %s", error)
            report.refused.append((first.text, str(error)))
            return {}
        halves = (group[: len(group) // 2], group[len(group) // 2 :])
        return {pair: score for half in halves for pair, score in _score_clip(scorer, half, report).items()}


def _clip(pair: VideoText) -> tuple[str, float, float]:
    return (str(pair.path), pair.start or 0.0, float("inf") if pair.end is None else pair.end)


def _key(pair: VideoText) -> tuple[str, str, float | None, float | None]:
    return (pair.video, pair.text, pair.start, pair.end)


def _row(pair: VideoText, score: float) -> dict[str, Any]:
    """The row that `mova score --pairs` writes."""
    bounds = {key: value for key, value in (("start", pair.start), ("end", pair.end)) if value is not None}
    return {"video": pair.video, **bounds, "text": pair.text, "score": score}


def _resume(out: Path, mark: str) -> dict[tuple[str, str, float | None, float | None], float]:
    """Scores that stand in an output; a last line that was cut off is removed from it.

    Raises:
        UsageError: it was written by another model, or is no such output.
    """
    if not out.exists():
        return {}
    content = out.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with out.open("r+b") as file:
            file.truncate(len(whole))
    found = {}
    for number, line in enumerate(whole.decode("utf-8").split("\n")[:-1], start=1):
        try:
            row = json.loads(line)
            found[row["video"], row["text"], row.get("start"), row.get("end")] = float(row["score"])
            written = row["fingerprint"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{out}, line {number}: no output of `mova score --pairs`; name another file") from error
        if written != mark:
            raise UsageError(f"{out}: was written by another model or with other options; name another file")
    return found


def _append(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    with out.open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        file.flush()
