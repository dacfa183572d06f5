"""Judges: a dual encoder (times, contradictions, order), a video LLM (entailment), or both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mova.data.negatives.interchange import Interchangeable
from mova.errors import UsageError
from mova.judge.by_similarity import judge_embedding
from mova.judge.counterfactuals import counterfactuals
from mova.judge.verdict import HOLDS, Contradiction, SentenceVerdict, Verdict
from mova.models.encoder import DualEncoder
from mova.models.entailment import EntailmentModel
from mova.models.registry import load, load_any
from mova.text.units import sentences_or_windows
from mova.video.isolated import Isolated

MOST_QUESTIONS = 24
"""Counterfactuals of one sentence that a video LLM is asked about."""
LEAST_ODDS = 1e-6


class Judge(ABC):
    """Says of each sentence of a prompt whether a video shows it. `load_judge` returns one.

    Attributes:
        name: names of the models.
        words: phrases that exclude each other, in addition to everyday English or the model's own vocabulary.

    >>> judge = load_judge("mova-worlds-tiny")
    >>> verdict = judge.judge("film.mp4", "Two white discs shrink. A crescent bounces. Three red stars fall.")
    >>> [row.finding for row in verdict.sentences]
    ['contradicted', 'shown', 'missing']
    """

    name: str
    words: Interchangeable | None = None

    @abstractmethod
    def judge(self, video: str | Path, prompt: str) -> Verdict:
        """Return the verdict on one video.

        Raises:
            UsageError: the prompt has no words.
            VideoError: the file cannot be read.
        """

    @abstractmethod
    def isolated(self, time_limit: float) -> AbstractContextManager[None]:
        """Decode in child processes inside the `with` block, see `mova.video.isolated.Decoding`."""

    @property
    def decoder(self) -> Isolated | None:
        """The child process of `isolated`, inside the `with` block."""
        return None


class SimilarityJudge(Judge):
    """A dual encoder: see `mova.judge.by_similarity`.

    >>> from mova.models.registry import load
    >>> judge = SimilarityJudge(load("mova-worlds-tiny"))
    >>> judge.judge("film.mp4", "A crescent bounces. Two discs shrink.").order_faults[0].second
    1
    """

    def __init__(self, model: DualEncoder, words: Interchangeable | None = None) -> None:
        self.model, self.name, self.words = model, model.name, words

    def judge(self, video: str | Path, prompt: str) -> Verdict:
        """See `Judge.judge`."""
        sentences_or_windows(prompt)
        return judge_embedding(self.model, self.model.encode_video(video), prompt, name=str(video), words=self.words)

    def isolated(self, time_limit: float) -> AbstractContextManager[None]:
        """See `Judge.isolated`."""
        return self.model.isolated(time_limit)

    @property
    def decoder(self) -> Isolated | None:
        """See `Judge.decoder`."""
        return self.model.decoder


class EntailmentJudge(Judge):
    """A video LLM: P(Yes) of every sentence, and of the counterfactuals of sentences that it denies. It knows no times.

    >>> from mova.models.registry import load_video_llm
    >>> judge = EntailmentJudge(load_video_llm("tiny-video-llm", max_frames=2))  # random weights
    >>> row = judge.judge("film.mp4", "Two black discs shrink.").sentences[0]
    >>> row.holds == row.entailment, row.spans
    (True, ())
    """

    def __init__(self, model: EntailmentModel, words: Interchangeable | None = None) -> None:
        self.model, self.name, self.words = model, model.name, words

    def judge(self, video: str | Path, prompt: str) -> Verdict:
        """See `Judge.judge`."""
        sentences = sentences_or_windows(prompt)
        seen = self.model.prepare(self.model.sample(video))
        scores = self.model.scores(seen, sentences).tolist()
        rows = [self._row(seen, *pair) for pair in zip(sentences, scores, strict=True)]
        return Verdict(str(video), prompt, None, tuple(rows))

    def _row(self, seen: Any, sentence: str, score: float) -> SentenceVerdict:
        row = SentenceVerdict(sentence, score, entailment=score)
        changes = counterfactuals(sentence, self.words)[:MOST_QUESTIONS] if score < HOLDS else []
        if not changes:
            return row
        others = self.model.scores(seen, [change.text for change in changes]).tolist()
        best = int(np.argmax(others))
        if others[best] < HOLDS:
            return row
        return replace(row, contradiction=Contradiction(changes[best], others[best] / (others[best] + score)))

    def isolated(self, time_limit: float) -> AbstractContextManager[None]:
        """See `Judge.isolated`."""
        return self.model.isolated(time_limit)

    @property
    def decoder(self) -> Isolated | None:
        """See `Judge.decoder`."""
        return self.model.decoder


class JointJudge(Judge):
    """A dual encoder for times, order and contradictions, and a video LLM that is asked about every sentence.

    The probability that a sentence holds has the mean of the log-odds of both. A contradiction of the dual encoder
    stands unless the sentence then holds.

    >>> from mova.models.registry import load, load_video_llm
    >>> judge = JointJudge(load("mova-worlds-tiny"), load_video_llm("tiny-video-llm", max_frames=2))  # random weights
    >>> row = judge.judge("film.mp4", "Two black discs shrink.").sentences[0]
    >>> row.entailment is not None, len(row.spans)
    (True, 1)
    """

    def __init__(self, encoder: DualEncoder, llm: EntailmentModel, words: Interchangeable | None = None) -> None:
        self.similarity, self.llm, self.words = SimilarityJudge(encoder, words), llm, words
        self.name = f"{encoder.name} and {llm.name}"

    def judge(self, video: str | Path, prompt: str) -> Verdict:
        """See `Judge.judge`."""
        verdict = self.similarity.judge(video, prompt)
        scores = self.llm.scores(video, [row.text for row in verdict.sentences]).tolist()
        rows = []
        for row, score in zip(verdict.sentences, scores, strict=True):
            holds = float(1 / (1 + np.exp(-(_log_odds(row.holds) + _log_odds(score)) / 2)))
            kept = row.contradiction if holds < HOLDS else None
            rows.append(replace(row, holds=holds, entailment=score, contradiction=kept))
        return replace(verdict, sentences=tuple(rows))

    @contextmanager
    def isolated(self, time_limit: float) -> Iterator[None]:
        """See `Judge.isolated`."""
        with self.similarity.isolated(time_limit), self.llm.isolated(time_limit):
            yield

    @property
    def decoder(self) -> Isolated | None:
        """See `Judge.decoder`."""
        return self.similarity.decoder


def _log_odds(probability: float) -> float:
    inside = min(max(probability, LEAST_ODDS), 1 - LEAST_ODDS)
    return float(np.log(inside) - np.log1p(-inside))


def load_judge(
    name_or_path: str | Path,
    *,
    llm: str | Path | None = None,
    words: Interchangeable | None = None,
    **options: Any,
) -> Judge:
    """Load a model of either kind as a judge.

    Args:
        name_or_path: a dual encoder or a video LLM.
        llm: a video LLM that is asked as well; `name_or_path` is then a dual encoder.
        words: phrases that exclude each other.
        options: see `mova.models.registry.load_any`; with `llm`, precision and device are those of both models.

    Raises:
        UsageError: an option does not fit the kind of model.
        ModelError: a model cannot be found or loaded.

    >>> load_judge("mova-worlds-tiny").name
    'mova-worlds-tiny'
    """
    if llm is None:
        model = load_any(name_or_path, **options)
        return EntailmentJudge(model, words) if isinstance(model, EntailmentModel) else SimilarityJudge(model, words)
    second = load_any(llm, **options)
    if not isinstance(second, EntailmentModel):
        raise UsageError(f"--llm {llm}: is not a video LLM")
    both = {key: options[key] for key in ("precision", "device") if options.get(key) is not None}
    return JointJudge(load(name_or_path, **both), second, words)
