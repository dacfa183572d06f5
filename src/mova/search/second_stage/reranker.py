"""Re-rank the first moments of a search by another model, which looks at the clips themselves.

Shape legend: n moments.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mova.errors import UsageError, VideoError, needs_packages
from mova.search.second_stage.mixing import EQUAL, Mixing, mixed_scores, read_mixing
from mova.search.second_stage.moment import RerankedMoment, Reranking
from mova.types import Moment
from mova.utils.files import ELSEWHERE, is_address
from mova.utils.numbers import is_number, require_number, require_whole

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.models.entailment import EntailmentModel
    from mova.search.second_stage.asking import SecondModel
    from mova.search.storage.records import Meta

TOP = 20
"""Moments that the second model is asked about, by default."""


@dataclass(frozen=True, eq=False)
class Reranker:
    """A second stage of `Index.search`: a model that is asked about the first moments.

    Args:
        model: a video LLM or a dual encoder; or a name or folder of one, which is loaded when it is first needed.
        top: ask about this many of the first moments.
        seconds: stop asking after this time; at least one moment is asked about. None: no limit.
        weight: share of the second model, from 0 to 1 (`mova.search.second_stage.mixing`). Default: the one that
            `mova eval rerank` measured for the index, else 0.5. With 0, the model is neither loaded nor asked.
        batch: clips that a video LLM answers about at once.
        max_frames: most frames per clip for a video LLM that is named; default: those of its family.
        prompt: question for a video LLM that is named: `entailment`, or a YAML file with the key `text`.
        progress: called after every batch with the number of moments asked about, and of all to ask about.

    Raises:
        UsageError: a number is out of range.

    >>> import mova
    >>> index = mova.Index("films.mova", "mova-worlds-tiny")
    >>> len(index.add("films").indexed)
    2
    >>> answer = index.search("Two black discs shrink.", k=3, rerank=Reranker("mova-worlds-tiny", top=5))
    >>> answer.reranking.asked, answer.reranking.source, answer[0].first_rank
    (5, 'default', 1)
    """

    model: DualEncoder | EntailmentModel | str | Path
    top: int = TOP
    seconds: float | None = None
    weight: float | None = None
    batch: int = 4
    max_frames: int | None = None
    prompt: str | Path | None = None
    progress: Callable[[int, int], None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("top", "batch"):
            require_whole(name, getattr(self, name), 1)
        if self.seconds not in (None, math.inf) and not (is_number(self.seconds) and self.seconds > 0):
            raise UsageError(f"the seconds of a second stage must be above 0, not {self.seconds!r}")
        if self.weight is not None:
            require_number("the weight of a second stage", self.weight, 0, 1)

    @property
    def name(self) -> str:
        """Name of the model, without loading it."""
        return str(self.model) if isinstance(self.model, str | Path) else self.model.name

    @cached_property
    def second(self) -> SecondModel:
        """The model, loaded on first use.

        Raises:
            ModelError: it cannot be found or loaded, or is of neither kind.
            UsageError: `max_frames` or `prompt` for a dual encoder, or a prompt that cannot be read.
        """
        with needs_packages():
            from mova.models.registry import load_any
            from mova.search.second_stage.asking import second_model

            if not isinstance(self.model, str | Path):
                return second_model(self.model, self.batch)
            from mova.models.video_llm.prompt import Question

            options: dict[str, Any] = {"max_frames": self.max_frames}
            options["question"] = None if self.prompt is None else Question.named(self.prompt)
            try:
                return second_model(load_any(self.model, **options), self.batch)
            except UsageError as error:
                if self.max_frames is None and self.prompt is None:
                    raise
                raise UsageError(f"{error} (--rerank-frames and --rerank-prompt, or max_frames and prompt)") from error

    @property
    def asked(self) -> str:
        """How the model is asked: what a measured weight depends on, beside the models."""
        prompt = str(self.prompt or "own")
        if self.prompt is not None and Path(self.prompt).is_file():
            prompt = hashlib.sha256(Path(self.prompt).read_bytes()).hexdigest()
        return f"{self.max_frames or 'own'} frames, {prompt} prompt"

    def measured(self, folder: Path | None, meta: Meta) -> Mixing | None:
        """Return the weight that was measured with an index; None if none was."""
        return read_mixing(folder, meta, self.name, self.asked)

    def prepare(self, folder: Path | None, meta: Meta) -> None:
        """Load the model if it will be asked.

        Raises:
            ModelError, UsageError: see `second`.
        """
        if self._weight(self.measured(folder, meta)) > 0:
            self.second  # noqa: B018 - loads it

    def isolated(self, time_limit: float) -> AbstractContextManager[None]:
        """Decode in child processes inside the `with` block, see `mova.video.isolated.Decoding`."""
        decoding: AbstractContextManager[None] = nullcontext()
        if "second" in self.__dict__:
            decoding = self.second.model.isolated(time_limit)
        return decoding

    def rerank(
        self, moments: Sequence[Moment], clips: Sequence[Moment], sentences: Sequence[str], measured: Mixing | None
    ) -> tuple[list[Moment], Reranking]:
        """Return moments in the order of both stages.

        Moments that were asked about are reordered among their own ranks; all others keep theirs: those after the first
        `top`, those for which no time was left, and those whose file cannot be read.

        Args:
            moments: best first.
            clips: what the model looks at, one per moment.
            sentences: of the query.
            measured: from `measured`.

        Raises:
            ModelError, UsageError: the model cannot be loaded, or cannot be asked about this text.
        """
        weight, count = self._weight(measured), min(self.top, len(moments))
        source = "given" if self.weight is not None else "default" if measured is None else "measured"
        began, scores, broken = time.perf_counter(), dict[int, float](), list[str]()
        if weight > 0 and count:
            self.second  # noqa: B018 - loading takes no time of the answer
            began = time.perf_counter()
            scores, broken = self.ask(clips[:count], sentences)
        known = {"limit": self.seconds, "unreadable": tuple(broken), "queries": measured.queries if measured else 0}
        elapsed = time.perf_counter() - began
        kind = self.second.kind if scores else ""
        done = Reranking(self.name, kind, weight, source, len(scores), count, elapsed, **known)  # type: ignore[arg-type]
        return reordered(moments, scores, weight), done

    def ask(self, clips: Sequence[Moment], sentences: Sequence[str]) -> tuple[dict[int, float], list[str]]:
        """Ask about clips in their order, until the time is over.

        Returns:
            The scores by index, and the clips that cannot be read, with the causes.
        """
        from mova.utils.prefetch import prefetch

        began = before = time.perf_counter()
        scores, broken, waiting = dict[int, float](), list[str](), list[tuple[int, Any]]()
        size, slowest = self.second.batch if self.seconds is None else 1, 0.0
        reading = prefetch(self._read(clips), self.second.batch + 1)
        try:
            for i, clip in enumerate(reading):
                if isinstance(clip, VideoError):
                    broken.append(str(clip))
                else:
                    waiting.append((i, clip))
                if not waiting or (len(waiting) < size and i < len(clips) - 1):
                    continue
                answers = self.second.score([clip for _, clip in waiting], sentences)
                scores.update(zip((index for index, _ in waiting), answers, strict=True))
                slowest, before = max(slowest, (time.perf_counter() - before) / len(waiting)), time.perf_counter()
                waiting = []
                if self.progress is not None:
                    self.progress(len(scores) + len(broken), len(clips))
                if self.seconds is not None:
                    size = min(self.second.batch, int((began + self.seconds - before) / max(slowest, 1e-9)))
                    if size < 1:
                        break
        finally:
            reading.close()
        return scores, broken

    def _read(self, clips: Sequence[Moment]) -> Iterator[Any]:
        for clip in clips:
            if is_address(clip.video):
                yield VideoError(clip.video, ELSEWHERE)
                continue
            try:
                yield self.second.read(clip)
            except VideoError as error:
                yield error

    def _weight(self, measured: Mixing | None) -> float:
        if self.weight is not None:
            return self.weight
        return EQUAL if measured is None else measured.weight


def as_reranker(second: Any) -> Reranker | None:
    """Return a second stage from what `Index.search` takes: None, a `Reranker`, a model, or its name."""
    return second if second is None or isinstance(second, Reranker) else Reranker(second)


def reordered(moments: Sequence[Moment], scores: dict[int, float], weight: float) -> list[Moment]:
    """Return moments with those that have second scores reordered among their own ranks.

    Args:
        moments: best first.
        scores: second scores by index.
        weight: share of the second score.
    """
    asked = sorted(scores)
    if not asked:
        return list(moments)
    second = [scores[i] for i in asked]
    mixed = mixed_scores([moments[i].score for i in asked], second, weight)
    by_second = sorted(range(len(asked)), key=lambda j: -second[j])
    rank = {j: place for place, j in enumerate(by_second, start=1)}
    order = sorted(range(len(asked)), key=lambda j: -round(float(mixed[j]), 9))
    answer = list(moments)
    for place, j in zip(asked, order, strict=True):
        i, values = asked[j], {"second_score": second[j], "second_rank": rank[j], "mixed": float(mixed[j])}
        answer[place] = RerankedMoment.of(moments[i], first_rank=i + 1, **values)
    return answer
