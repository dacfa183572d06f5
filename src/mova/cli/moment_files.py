"""Options that write found moments to files for spreadsheets, players and editors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mova.cli.console import note, one_line, write_result
from mova.cli.options import Predictions
from mova.cli.output_files import output_file
from mova.errors import UsageError
from mova.remote.objects import uri_of
from mova.utils.files import is_address

if TYPE_CHECKING:
    from mova.plots.page.content import Section
    from mova.search.searchable import SearchableIndex
    from mova.types import Moment

DEFAULT_RATE = 25.0
"""Frames per second of an edit list if no video can be read."""


@dataclass(frozen=True)
class MomentFiles:
    """Files to write the moments to."""

    csv: Annotated[Path | None, output_file("Write the moments as a table.")] = None
    edl: Annotated[Path | None, output_file("Write the moments as an edit list (CMX 3600).")] = None
    otio: Annotated[Path | None, output_file("Write the moments as a timeline for editors (extra `edit`).")] = None
    html: Annotated[
        Path | None, output_file("Write the moments as one page with pictures and a player, for any browser.")
    ] = None
    srt: Annotated[Path | None, output_file("Write subtitles for the moments played one after another.")] = None
    predictions: Predictions = None

    def requested(self) -> list[str]:
        """Return the options that are used."""
        return [f"--{field.name}" for field in fields(self) if getattr(self, field.name) is not None]

    def check(self) -> None:
        """Refuse a file of another kind, before anything is searched.

        Raises:
            UsageError: the file of --predictions has another suffix.
        """
        if self.predictions is not None:
            from mova.data.exchange.predictions import check_predictions

            check_predictions(self.predictions)

    def write(
        self,
        moments: Sequence[Moment],
        label: str,
        index: SearchableIndex,
        section: Section | None = None,
        measure: str = "score",
    ) -> None:
        """Write the requested files.

        Args:
            moments: of `index`.
            label: what they show.
            index: where they are from.
            section: what a page shows; None: the answer to a search for `label`.
            measure: what the scores are.

        Raises:
            UsageError: too many moments for an edit list, or OpenTimelineIO is not installed.
            MovaError: a file cannot be written.
        """
        from mova.cli.moment_table import to_csv
        from mova.exports.moments import Clip, to_edl, to_otio, to_srt

        clips = [
            Clip(
                Path(moment.video).name,
                moment.start,
                moment.end,
                label,
                url=_address(moment.video),
            )
            for moment in moments
        ]
        texts: dict[str, Callable[[], str]] = {
            "csv": lambda: to_csv([("1", label, moments)], measure),
            "edl": lambda: to_edl(clips, _rate(moments)),
            "otio": lambda: to_otio(clips),
            "srt": lambda: to_srt(clips),
        }
        for name, to_text in texts.items():
            path: Path | None = getattr(self, name)
            if path is not None:
                write_result(partial(_write, to_text()), path, f"--{name}")
        if self.predictions is not None:
            from mova.data.exchange.predictions import of_moments, write_predictions

            found = of_moments(label, moments)
            write_result(partial(write_predictions, found), self.predictions, "--predictions")
        if self.html is not None:
            from mova.plots.page.content import answer_section

            shown = section or answer_section(label, moments, index.meta.model)
            write_result(partial(_write_page, shown, index), self.html, "--html")


def _write_page(section: Section, index: SearchableIndex, path: Path) -> None:
    from mova.plots.page.document import write_page
    from mova.video.isolated import Isolated

    records = index.videos()
    lengths = {record.path: record.duration for record in records}
    source = f"{index.folder or 'index'} \u00b7 {index.model_name}"
    with Isolated() as decoder:
        write_page(path, [section], searched=len(records), source=source, durations=lengths, decoder=decoder)


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8", newline="")


def _rate(moments: Sequence[Moment]) -> float:
    """Return the frames per second of the first video that can be read; report if there is none."""
    from mova.errors import VideoError
    from mova.video.isolated import Isolated

    with Isolated() as decoder:
        for video in dict.fromkeys(moment.video for moment in moments):
            with suppress(VideoError, UsageError):  # which a file of another machine is
                return decoder.probe(video).fps
    if moments:
        note(
            f"--edl: no video can be read ({one_line(moments[0].video)}); time codes count {DEFAULT_RATE:g} frames per "
            "second"
        )
    return DEFAULT_RATE


def export_moments(moments: Sequence[Moment], folder: Path, time_limit: float | None) -> None:
    """Write a clip of each moment; exit with 1 if none can be written."""
    from mova.search.export import export_clips
    from mova.video.isolated import CLIP_MEMORY, Isolated
    from mova.video.limits import TIME_LIMIT

    with Isolated(TIME_LIMIT if time_limit is None else time_limit, CLIP_MEMORY) as decoder:
        clips, failures = export_clips(moments, folder, decoder=decoder)
    for clip in clips:
        note(f"wrote {one_line(clip)}")
    for path, cause in failures:
        note(f"not exported: {one_line(path)}: {one_line(cause)}")
    if failures and not clips:
        raise typer.Exit(1)


def _address(video: str) -> str:
    return uri_of(video) or (video if is_address(video) else Path(video).as_uri())
