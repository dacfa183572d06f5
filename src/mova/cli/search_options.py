"""Options of `mova search`: which videos are searched, and how moments are found and ranked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mova.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mova.search.narrow.filter import Filter
    from mova.search.narrow.trim import Trim
    from mova.search.second_stage.reranker import Reranker


@dataclass(frozen=True)
class QueryOptions:
    """Files with a query, or with many."""

    text_file: Annotated[
        Path | None, typer.Option(help="UTF-8 text file that contains the query, or subtitles (.srt, .vtt).")
    ] = None
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Answer many queries: a file with one per line, or .jsonl with `query`, `id` and `vid`; - for "
            "standard input. --json and --csv have all moments of each, and --predictions those for a benchmark.",
        ),
    ] = None

    def require_alone(self, others: list[str]) -> None:
        """Raise if many queries are asked for together with something that is for one query.

        Raises:
            UsageError: they are.
        """
        if self.queries is not None and others:
            raise UsageError(f"{others[0]} is for one query; omit it with --queries")


@dataclass(frozen=True)
class FilterOptions:
    """Which videos are searched, and which of the best moments are shown."""

    folders: Annotated[
        list[str] | None,
        typer.Option(
            "--folder",
            metavar="PATH",
            help="Search only videos below this folder, or this file; may be repeated. A relative path starts at the "
            "current folder, or else at the folder that contains all indexed videos.",
        ),
    ] = None
    after: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="Search only videos whose file was last modified at this time or later: 2024, 2024-05, 2024-05-01 or "
            "2024-05-01T18:30.",
        ),
    ] = None
    before: Annotated[
        str | None, typer.Option(metavar="DATE", help="Search only videos whose file was last modified earlier.")
    ] = None
    longer: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Search only videos of at least this length: 90, 1:30, 10m or 1h30m."),
    ] = None
    shorter: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Search only videos of at most this length.")
    ] = None
    one_per_video: Annotated[bool, typer.Option("--one-per-video", help="Only the best moment of each video.")] = False
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Leave out moments that show nearly the same as a better one.")
    ] = False
    page: Annotated[int | None, typer.Option(min=1, help="Page of the answer, of -k moments each: 1 is the first.")] = (
        None
    )
    skip: Annotated[int | None, typer.Option(min=0, help="Leave out this many of the best moments.")] = None

    def filter(self) -> Filter:
        """Return the filter.

        Raises:
            UsageError: a date or a duration cannot be read.
        """
        from mova.search.narrow.filter import Filter

        return Filter(
            self.folders or (),
            self.after,
            self.before,
            self.longer,
            self.shorter,
            one_per_video=self.one_per_video,
            dedupe=self.dedupe,
        )

    def skipped(self, k: int) -> int:
        """Return how many of the best moments are left out, with k moments per page.

        Raises:
            UsageError: both --page and --skip are used.
        """
        if self.page is not None and self.skip is not None:
            raise UsageError("--page and --skip both say where the answer begins; use one of them")
        return self.skip or 0 if self.page is None else (self.page - 1) * k


@dataclass(frozen=True)
class TrimOptions:
    """Time around the moments."""

    pad: Annotated[
        str, typer.Option(metavar="DURATION", help="Add this much time before and after each moment: 2, or 0:02.")
    ] = "0"
    min_length: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Widen shorter moments to this length (default: one sampling step of the index; 0: as found).",
        ),
    ] = None

    def trim(self) -> Trim:
        """Return the bounds to give to moments.

        Raises:
            UsageError: a duration cannot be read.
        """
        from mova.search.narrow.trim import Trim, trim_seconds

        for name, value in (("--pad", self.pad), ("--min-length", self.min_length)):
            if value is not None:
                trim_seconds(name, value)
        return Trim(self.pad, self.min_length)


@dataclass(frozen=True)
class RankingOptions:
    """How the moments of a text are ranked, and what counts as evidence."""

    min_score: Annotated[
        float | None, typer.Option(help="Drop moments below this score (a cosine; applied before rescoring).")
    ] = None
    rescore: Annotated[
        str,
        typer.Option(
            help="How to rescore the best moments with all of their frames: rule (the model's caption score), masks "
            "(MoVA models; also mod or tv, with -top or -relevance), none, or auto (rule for paragraphs if the rule "
            "has an order term)."
        ),
    ] = "auto"
    false_alarm: Annotated[
        float,
        typer.Option(help="Highest false-alarm rate that counts as evidence. Above it, nothing here shows the text."),
    ] = 0.05
    order: Annotated[
        Literal["auto", "yes", "no"],
        typer.Option(
            help="Whether the sentences of a paragraph are in temporal order, and so form one passage: auto (by the "
            "evidence of each video), yes or no."
        ),
    ] = "auto"

    def check(self) -> None:
        """Raise if a value cannot be used.

        Raises:
            UsageError: with the option.
        """
        from mova.search.evidence import require_bar
        from mova.search.query import require_rescoring
        from mova.utils.numbers import require_number

        if self.min_score is not None:
            require_number("--min-score", self.min_score)
        require_bar(self.false_alarm)
        require_rescoring(self.rescore)

    def without_effect(self) -> list[str]:
        """Return the options that are used, and have no effect on a search by example."""
        used = {
            "--min-score": self.min_score is not None,
            "--rescore": self.rescore != "auto",
            "--order": self.order != "auto",
            "--false-alarm": self.false_alarm != RankingOptions.false_alarm,
        }
        return [option for option, is_used in used.items() if is_used]


@dataclass(frozen=True)
class RerankOptions:
    """Another model that is asked about the first moments."""

    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Re-rank the first moments by another model that looks at their clips: a video LLM (its answer Yes "
            "or No), or a dual encoder. `mova eval rerank` measures whether that helps.",
        ),
    ] = None
    rerank_top: Annotated[
        int | None, typer.Option(min=1, help="With --rerank: ask about this many moments (default: 20).")
    ] = None
    rerank_seconds: Annotated[
        float | None,
        typer.Option(
            help="With --rerank: stop asking after this time; moments that were not asked about keep ranks "
            "(default: no limit; 30 s in a service)."
        ),
    ] = None
    rerank_weight: Annotated[
        float | None,
        typer.Option(
            help="With --rerank: share of the second score, from 0 to 1 (default: the one that `mova eval rerank` "
            "measured with this index, else 0.5)."
        ),
    ] = None
    rerank_frames: Annotated[
        int | None, typer.Option(min=1, help="With --rerank: most frames per clip that a video LLM looks at.")
    ] = None
    rerank_prompt: Annotated[
        str | None,
        typer.Option(help="With --rerank: question for a video LLM: `entailment`, or a YAML file with the key `text`."),
    ] = None

    def used(self) -> list[str]:
        """Return the names of the options that are used."""
        return [f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value is not None]

    def reranker(self, progress: Callable[[int, int], None] | None = None) -> Reranker | None:
        """Return the second stage, which loads its model later; None without --rerank.

        Raises:
            UsageError: another option without --rerank, or a number that is out of range.
        """
        if self.rerank is None:
            if self.used():
                raise UsageError(f"{self.used()[0]} needs --rerank MODEL")
            return None
        from mova.search.second_stage.reranker import TOP, Reranker

        return Reranker(
            self.rerank,
            self.rerank_top or TOP,
            self.rerank_seconds,
            self.rerank_weight,
            max_frames=self.rerank_frames,
            prompt=self.rerank_prompt,
            progress=progress,
        )


@dataclass(frozen=True)
class ExampleOptions:
    """A search by example."""

    like: Annotated[
        str | None,
        typer.Option(
            metavar="EXAMPLE",
            help="Find moments that look like this one, film.mp4@1:23, or a picture; with a TEXT, ones that also show "
            "it.",
        ),
    ] = None
    by: Annotated[
        str | None,
        typer.Option(help='What the moments should share with the example, such as "the place" (instead of a TEXT).'),
    ] = None
