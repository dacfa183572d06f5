"""Score texts against videos with either kind of model.

A video LLM gives f(V, t), a probability. A two-tower model gives the cosine of a sentence's best frame, and one score
for the whole text by its evidence rule: these rank videos and texts but are not probabilities. Whether a sentence is
shown at all is a probability, decided for all sentences of a text together (`DualEncoder.align`).
"""

from __future__ import annotations

import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mova.data.pair_list import VideoText
from mova.errors import UsageError, VideoError
from mova.models.encoder import DualEncoder, VideoEmbedding
from mova.models.entailment import EntailmentModel
from mova.models.inputs.captions import Compared, compared, encode_captions
from mova.models.inputs.reading import DECODE_CHUNK, DECODE_SHORT_SIDE, joined
from mova.models.registry import load_any
from mova.scoring.timeline_decoder import PRESENT
from mova.text.units import sentences_or_windows
from mova.utils.text_files import PARSER_ERRORS
from mova.video.reader import stream

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""(video, pairs done, pairs in total), called after each video."""


@dataclass(frozen=True)
class SentenceScore:
    """The score of one sentence of a text.

    Attributes:
        text: the sentence.
        score: P(Yes) of a video LLM, or the cosine of the best frame.
        shown: probability that the video shows the sentence at all; None from a video LLM, or if a score is not finite.
        compared: "in the same place", "of another color" (`mova.models.inputs.captions`).

    >>> SentenceScore("A dog runs.", score=0.21, shown=0.1).absent
    True
    """

    text: str
    score: float
    shown: float | None = None
    compared: tuple[Compared, ...] = ()

    @property
    def absent(self) -> bool:
        """Whether the video probably does not show the sentence; False if that was not decided."""
        return self.shown is not None and self.shown < PRESENT


class Scorer(ABC):
    """Scores of texts for videos, from either kind of model.

    Attributes:
        name: name of the model.
        probability: whether scores are probabilities.

    >>> scorer = load_scorer("mova-worlds-tiny")
    >>> right, wrong = scorer.score_texts("film.mp4", ["Two black discs shrink.", "Three white stars grow."])
    >>> right > wrong, scorer.probability
    (True, False)
    """

    name: str
    probability: bool

    @abstractmethod
    def score_text(self, video: str | Path, text: str) -> tuple[list[SentenceScore], float]:
        """Return the scores of the sentences in order, and that of the text as a whole."""

    @abstractmethod
    def score_texts(
        self, video: str | Path, texts: Sequence[str], start: float = 0.0, end: float | None = None
    ) -> list[float]:
        """Return one score per text, each as a whole, for `[start, end)` seconds of a video."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash; equal fingerprints give equal scores."""

    @abstractmethod
    def isolated(self, time_limit: float) -> AbstractContextManager[None]:
        """Decode in child processes inside the `with` block, see `mova.video.isolated.Decoding`."""


class EntailmentScorer(Scorer):
    """f(V, t) of a video LLM. The text as a whole is one more description, not the mean of its sentences.

    >>> from mova.models.registry import load_video_llm
    >>> scorer = EntailmentScorer(load_video_llm("tiny-video-llm", max_frames=2))  # random weights
    >>> sentences, whole = scorer.score_text("film.mp4", "Two black discs shrink. A crescent bounces.")
    >>> [sentence.text for sentence in sentences], 0 <= whole <= 1
    (['Two black discs shrink.', 'A crescent bounces.'], True)
    """

    probability = True

    def __init__(self, model: EntailmentModel) -> None:
        self.model, self.name = model, model.name

    def isolated(self, time_limit: float) -> AbstractContextManager[None]:
        """See `Scorer.isolated`."""
        return self.model.isolated(time_limit)

    def score_text(self, video: str | Path, text: str) -> tuple[list[SentenceScore], float]:
        """Score the sentences and the whole text with one pass over the video."""
        sentences = sentences_or_windows(text)
        full_text = [] if [text.strip()] == sentences else [text]
        scores = self.model.scores(video, [*sentences, *full_text]).tolist()
        return [SentenceScore(*pair) for pair in zip(sentences, scores[: len(sentences)], strict=True)], scores[-1]

    def score_texts(
        self, video: str | Path, texts: Sequence[str], start: float = 0.0, end: float | None = None
    ) -> list[float]:
        """Score all texts with one pass over the video."""
        return self.model.scores(self.model.sample(video, start, end), texts).tolist()

    def fingerprint(self) -> str:
        """Return a hash of weights, question and frames."""
        return self.model.fingerprint()


class SimilarityScorer(Scorer):
    """A two-tower model: the best frame's cosine per sentence, the evidence rule (or the mean) for the whole text.

    >>> import mova
    >>> scorer = SimilarityScorer(mova.load("mova-worlds-tiny"))
    >>> sentences, whole = scorer.score_text("film.mp4", "Two black discs shrink. A crescent bounces.")
    >>> [(sentence.text, round(sentence.score, 1)) for sentence in sentences]
    [('Two black discs shrink.', 0.7), ('A crescent bounces.', 0.7)]
    """

    probability = False

    def __init__(self, model: DualEncoder) -> None:
        self.model, self.name = model, model.name

    def score_text(self, video: str | Path, text: str) -> tuple[list[SentenceScore], float]:
        """See `score_caption`."""
        return score_caption(self.model, video, text)

    def score_texts(
        self, video: str | Path, texts: Sequence[str], start: float = 0.0, end: float | None = None
    ) -> list[float]:
        """Score all texts against the vectors of one pass over the video."""
        embedding = self._encode(video, start, end)
        return [_total(self.model, embedding, text, _highest(self.model, embedding, text)) for text in texts]

    def fingerprint(self) -> str:
        """Return a hash of weights and preprocessing."""
        return self.model.fingerprint()

    def isolated(self, time_limit: float) -> AbstractContextManager[None]:
        """See `Scorer.isolated`."""
        return self.model.isolated(time_limit)

    def _encode(self, video: str | Path, start: float, end: float | None) -> VideoEmbedding:
        if start == 0 and end is None:
            return self.model.encode_video(video)
        rate = self.model.sampling_rate()
        read = stream if self.model.decoder is None else self.model.decoder.stream
        chunks = read(video, fps=rate, start=start, end=end, short_side=DECODE_SHORT_SIDE, chunk=DECODE_CHUNK)
        parts = list(self.model.encode_parts(chunks, rate))
        if not parts:
            raise VideoError(video, f"has no frame in [{start:g}, {end if end is None else f'{end:g}'}) seconds")
        return joined(parts, float(parts[-1].times[-1]), 1 / rate)


def score_caption(
    model: DualEncoder, video: str | Path, text: str, *, fps: float | None = None
) -> tuple[list[SentenceScore], float]:
    """Score how well a video shows each sentence of a text, and the text as a whole.

    Returns:
        Sentences in order, with the highest cosine with any sampled frame and the probability that the video shows
        them; and one score for the whole text: by the model's evidence rule if one was chosen on validation data,
        otherwise the mean of the sentences.

    Raises:
        UsageError: the text contains no words, or the rate is not possible.
        VideoError: the file cannot be read.

    >>> import mova
    >>> model = mova.load("mova-worlds-tiny")
    >>> sentences, total = score_caption(model, "film.mp4", "Two black discs shrink. Three white stars grow.")
    >>> [(sentence.text, sentence.absent) for sentence in sentences]
    [('Two black discs shrink.', False), ('Three white stars grow.', True)]
    """
    return score_embedding(model, model.encode_video(video, fps), text)


def score_embedding(model: DualEncoder, video: VideoEmbedding, text: str) -> tuple[list[SentenceScore], float]:
    """Do the same as `score_caption` for a video that is already encoded.

    Raises:
        UsageError: the text contains no words.

    >>> import mova
    >>> model = mova.load("mova-worlds-tiny")
    >>> sentences, total = score_embedding(model, model.encode_video("film.mp4"), "Two black discs shrink.")
    >>> sentences[0].absent, round(total, 1)
    (False, 0.9)
    """
    sentences, highest = sentences_or_windows(text), _highest(model, video, text)
    finite = bool(torch.isfinite(highest).all())
    shown = [row.shown for row in model.align(video, text).sentences] if finite else [None] * len(sentences)
    rows = zip(sentences, highest.tolist(), shown, compared(model, video.frames, text, sentences), strict=True)
    scores = [SentenceScore(*row) for row in rows]
    return scores, _total(model, video, text, highest)


def _highest(model: DualEncoder, video: VideoEmbedding, text: str) -> Tensor:
    """Return the highest cosine of each sentence with any frame."""
    return model.relevance(model.encode_sentences(sentences_or_windows(text)), video).max(dim=1).values


def _total(model: DualEncoder, video: VideoEmbedding, text: str, highest: Tensor) -> float:
    plain = model.rule.plain and not any(encode_captions(model, [text]).comparisons)
    return float(highest.mean() if plain else model.score([video], text)[0, 0])


def load_scorer(name_or_path: str | Path, **options: Any) -> Scorer:
    """Load a model of either kind and return its scorer.

    Args:
        name_or_path, options: see `mova.models.registry.load_any`.

    Raises:
        UsageError: an option of video LLMs is used with a two-tower model.
        ModelError: the model cannot be found or loaded.

    >>> load_scorer("mova-worlds-tiny").probability, load_scorer("tiny-video-llm").probability
    (False, True)
    """
    model = load_any(name_or_path, **options)
    return EntailmentScorer(model) if isinstance(model, EntailmentModel) else SimilarityScorer(model)


@dataclass
class PairReport:
    """The result for a file of pairs.

    Attributes:
        rows: one per scored pair: `{"video", "text", "score"}`, with `start` and `end` if the pair has them.
        resumed: number of rows that were already in the output.
        broken: (video, cause) of every video that cannot be read; its pairs have no row.
        refused: (text, cause) of every text that the model cannot score.

    >>> PairReport(rows=[{"video": "film.mp4", "text": "A dog runs.", "score": 0.25}]).rows[0]["score"]
    0.25
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    resumed: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def score_pairs(
    scorer: Scorer, pairs: Sequence[VideoText], *, out: str | Path | None = None, progress: Progress | None = None
) -> PairReport:
    """Score every pair; the texts of one video share one pass over it.

    Args:
        scorer: from `load_scorer`.
        pairs: in any order.
        out: JSON lines file, one line per pair, written as scores become available. Pairs that it already contains
            are not scored again; an incomplete last line is removed.
        progress: called after each video.

    Raises:
        UsageError: `out` was written by another model.

    >>> from mova.data.pair_list import read_pairs
    >>> pairs = read_pairs("films/manifest.jsonl")
    >>> report = score_pairs(load_scorer("mova-worlds-tiny"), pairs, out="scores.jsonl")
    >>> len(report.rows), len(report.broken)
    (8, 0)
    >>> score_pairs(load_scorer("mova-worlds-tiny"), pairs, out="scores.jsonl").resumed
    8
    """
    report = PairReport()
    fingerprint = scorer.fingerprint()[:16] if out is not None else ""
    stored = _resume(Path(out), fingerprint) if out is not None else {}
    positions = {pair: position for position, pair in enumerate(pairs)}
    scored = {pair: stored[_key(pair)] for pair in pairs if _key(pair) in stored}
    report.resumed = len(scored)
    remaining = sorted((p for p in positions if p not in scored), key=lambda p: (_clip(p), positions[p]))
    clips = [list(group) for _, group in groupby(remaining, key=_clip)]
    done = len(scored)
    for group in sorted(clips, key=lambda group: positions[group[0]]):
        new_scores = _score_clip(scorer, group, report)
        scored |= new_scores
        done += len(group)
        if out is not None:
            _append(Path(out), [_row(pair, score) | {"fingerprint": fingerprint} for pair, score in new_scores.items()])
        if progress is not None:
            progress(group[0].video, done, len(positions))
    report.rows = [_row(pair, scored[pair]) for pair in positions if pair in scored]
    return report


def _score_clip(scorer: Scorer, group: Sequence[VideoText], report: PairReport) -> dict[VideoText, float]:
    """Score the pairs of one clip; add failures to the report."""
    first = group[0]
    start, end = first.start or 0.0, first.end
    texts = [pair.text for pair in group]
    try:
        scores = dict(zip(group, scorer.score_texts(first.path, texts, start, end), strict=True))
        report.refused += [(pair.text, "its score is not finite") for pair, x in scores.items() if not math.isfinite(x)]
        return {pair: score for pair, score in scores.items() if math.isfinite(score)}
    except VideoError as error:
        logger.warning("skipped %s", error)
        report.broken.append((first.video, error.cause))
        return {}
    except (MemoryError, OSError) as error:
        logger.warning("skipped %s: %s", first.video, cause := f"cannot be scored: {error or type(error).__name__}")
        report.broken.append((first.video, cause))
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
    """Return the row that `mova score --pairs` writes."""
    bounds = {key: value for key, value in (("start", pair.start), ("end", pair.end)) if value is not None}
    return {"video": pair.video, **bounds, "text": pair.text, "score": score}


LINE_START = b'{"video": "'
"""First bytes of a line that `mova score --pairs` writes."""


def _resume(out: Path, fingerprint: str) -> dict[tuple[str, str, float | None, float | None], float]:
    """Read the scores of an earlier run from its output; remove an incomplete last line from the file.

    Raises:
        UsageError: the file was written by another model, or is not an output of `mova score --pairs`.
    """
    if not out.exists():
        return {}
    content = out.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    rest = content[len(complete) :]
    lines = complete.split(b"\n")[:-1]
    scores = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line.decode("utf-8"))
            scores[row["video"], row["text"], row.get("start"), row.get("end")] = float(row["score"])
            written = row["fingerprint"]
        except PARSER_ERRORS as error:
            raise _not_scores(out, number) from error
        if written != fingerprint:
            raise UsageError(f"{out}: was written by another model or with other options; choose another file")
    if rest and rest[: len(LINE_START)] != LINE_START[: len(rest)]:
        raise _not_scores(out, len(lines) + 1)
    if rest:
        with out.open("r+b") as file:
            file.truncate(len(complete))
    return scores


def _not_scores(out: Path, number: int) -> UsageError:
    return UsageError(f"{out}, line {number}: was not written by `mova score --pairs`; choose another file")


def _append(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    with out.open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        file.flush()
