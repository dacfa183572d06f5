"""Options that narrow a search: which videos, one moment per video, pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.search.narrow.filter import Filter


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
            self.folders or (), self.after, self.before, self.longer, self.shorter, one_per_video=self.one_per_video
        )

    def skipped(self, k: int) -> int:
        """Return how many of the best moments are left out, with k moments per page.

        Raises:
            UsageError: both --page and --skip are used.
        """
        if self.page is not None and self.skip is not None:
            raise UsageError("--page and --skip both say where the answer begins; use one of them")
        return self.skip or 0 if self.page is None else (self.page - 1) * k
