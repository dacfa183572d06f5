"""`mova explain`: plots that show what a model sees of a caption in a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from mova.cli.console import SENTENCE_WIDTH, clock, emit, progress_bar, show, write_plot
from mova.cli.options import Caption, Json, Loading, Model, require_video
from mova.cli.output_files import output_file
from mova.errors import UsageError
from mova.utils.time_format import parse_duration

if TYPE_CHECKING:
    from mova.explain.maps import SaliencyMaps
    from mova.models.encoder import DualEncoder
    from mova.models.entailment import EntailmentModel

FRAMES = 8


@dataclass(frozen=True)
class Explanation:
    """The JSON document, the table and the plot of one explanation."""

    document: dict[str, Any]
    table: Table
    draw: Callable[[Path], None]


class Method(StrEnum):
    """Method of an explanation."""

    SUBSETS = "subsets"
    MASKS = "masks"
    SHARED = "shared"
    GRADCAM = "gradcam"
    OCCLUSION = "occlusion"


@dataclass(frozen=True)
class Pair:
    """What `--method shared` compares, besides two sentences."""

    moments: Annotated[
        str | None,
        typer.Option(help="With shared: compare these two times, 0:12,0:47, instead of the sentences' best frames."),
    ] = None
    by: Annotated[
        str | None,
        typer.Option(
            help="With shared: the concept that the moments share (color), or its values (a dog, a cat); default: all "
            "concepts in which they agree."
        ),
    ] = None

    def times(self, method: Method) -> list[float] | None:
        """Return the two times of `--moments` in seconds.

        Raises:
            UsageError: not two times, or an option of another method.
        """
        if method is not Method.SHARED and (self.moments, self.by) != (None, None):
            raise UsageError(f"--{'by' if self.moments is None else 'moments'} is for --method shared")
        if self.moments is None:
            return None
        try:
            times = [parse_duration(part) for part in self.moments.split(",")]
        except ValueError as error:
            raise UsageError(f"--moments {self.moments}: {error}") from error
        if len(times) != 2:
            raise UsageError(f"--moments {self.moments}: must be two times, separated by a comma, such as 0:12,0:47")
        return times


def explain(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")],
    plot: Annotated[Path, output_file("Plot to write (.png).")],
    caption: Caption,
    loading: Loading,
    pair: Pair,
    method: Annotated[
        Method,
        typer.Option(
            help="What to show: the sentences that each frame matches (subsets); what the masks of a MoVA let through "
            "(masks); what two sentences or moments have in common, and where else it is active (shared); or where in "
            "the frames sentences are seen: from gradients (gradcam), or by occluding small regions (occlusion: "
            "slower, works with every model)."
        ),
    ] = Method.SUBSETS,
    frames: Annotated[
        int,
        typer.Option(
            min=1, help="Maximum number of frames to show: the best one per sentence, then evenly spaced ones."
        ),
    ] = FRAMES,
    sentences: Annotated[
        str | None, typer.Option(help="Use only these sentences of the caption, by number: 1,3 (default: all).")
    ] = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Plot which sentences of a caption a model sees in which frames, or where in the frames."""
    from mova.text.units import sentences_or_windows

    times = pair.times(method)
    bare = times is not None and caption.text is None and caption.text_file is None
    units = [] if bare else _select(sentences_or_windows(caption.read()), sentences)
    if plot.suffix.lower() != ".png":
        raise UsageError(f"--plot {plot}: the file must end in .png")
    require_video(video)  # before a model is loaded
    from mova.models.entailment import EntailmentModel
    from mova.models.known import DEFAULT_MODEL
    from mova.models.registry import load_any

    encoder = load_any(model or DEFAULT_MODEL, **loading.arguments())
    with encoder.isolated():
        if method is Method.OCCLUSION:
            explanation = _occlusion(encoder, video, units, frames)
        elif isinstance(encoder, EntailmentModel):
            raise UsageError(f"{encoder.name}: a video LLM has no frame vectors; use --method occlusion")
        elif method is Method.SUBSETS:
            explanation = _subsets(encoder, video, units, frames)
        elif method is Method.MASKS:
            explanation = _masks(encoder, video, units, frames)
        elif method is Method.SHARED:
            explanation = _shared(encoder, video, units, times, pair.by)
        else:
            explanation = _gradcam(encoder, video, units, frames)
    if json:
        emit(explanation.document)
    else:
        show(explanation.table)
    write_plot(explanation.draw, plot)


def _select(units: list[str], numbers: str | None) -> list[str]:
    """Return the sentences with these numbers, counted from 1, in the order of the caption.

    Raises:
        UsageError: not a list of sentence numbers.
    """
    if numbers is None:
        return units
    selected = {part.strip() for part in numbers.split(",")}
    known = {str(i + 1) for i in range(len(units))}
    if not selected <= known:
        raise UsageError(f"--sentences {numbers}: must be numbers from 1 to {len(units)}, separated by commas")
    return [unit for i, unit in enumerate(units) if str(i + 1) in selected]


def _subsets(model: DualEncoder, video: Path, units: list[str], frames: int) -> Explanation:
    """Show which sentences each frame matches."""
    from mova.explain.subsets import select_subsets
    from mova.plots.subsets import draw_subsets

    subsets = select_subsets(model, video, units, frames)
    table = Table(header_style="bold", title=f"weights by {subsets.rule}", title_justify="left")
    table.add_column("frame", justify="right")
    table.add_column("strongest sentence", max_width=SENTENCE_WIDTH)
    table.add_column("weight", justify="right")
    table.add_column("none", justify="right")
    for frame in subsets.frame_indices:
        unit, weights = subsets.strongest(frame)[0], subsets.weights[frame]
        shares = f"{weights[unit]:.2f}", f"{weights[-1]:.2f}"
        table.add_row(clock(float(subsets.times[frame])), Text(subsets.sentences[unit]), *shares)
    return Explanation(subsets.to_json(), table, partial(draw_subsets, subsets))


def _masks(model: DualEncoder, video: Path, units: list[str], frames: int) -> Explanation:
    """Show what the masks of a MoVA let through."""
    from mova.explain.masks import mask_weights
    from mova.plots.masks import draw_masks

    weights = mask_weights(model, video, units, frames)
    table = Table(header_style="bold", title=f"masks over {weights.target}", title_justify="left")
    table.add_column("frame", justify="right")
    table.add_column("strongest text", max_width=SENTENCE_WIDTH)
    for name in ("selected", "seen", "masked cosine"):
        table.add_column(name, justify="right")
    for frame in weights.frame_indices:
        text = weights.strongest(frame)[0]
        values = (part[text, frame] for part in (weights.selected, weights.seen, weights.scores))
        numbers = [f"{value:.2f}" for value in values]
        table.add_row(clock(float(weights.times[frame])), Text(weights.sentences[text]), *numbers)
    return Explanation(weights.to_json(), table, partial(draw_masks, weights))


def _shared(
    model: DualEncoder, video: Path, units: list[str], times: list[float] | None, by: str | None
) -> Explanation:
    """Show what two sentences or moments share, and where else it is active."""
    from mova.explain.shared import shared_subspace
    from mova.plots.shared import draw_shared

    if times is not None and len(units) != 2:
        units = []
    elif times is None and len(units) != 2:
        raise UsageError(f"--method shared compares two sentences, not {len(units)}; choose them with --sentences 1,3")
    shared = shared_subspace(model, video, units, times, by)
    found = ", ".join(shared.shared) or f"{shared.dimensions} dimensions"
    table = Table(header_style="bold", title=f"shared, by {shared.source}: {found}", title_justify="left")
    for name in ("start", "end", "peak", "activity"):
        table.add_column(name, justify="right")
    table.add_column("")
    for peak in shared.peaks:
        note = "one of the two moments" if shared.given(peak) else ""
        top = float(shared.times[shared.top(peak)])
        table.add_row(clock(peak.span.start), clock(peak.span.end), clock(top), f"{peak.score:.2f}", note)
    return Explanation(shared.to_json(), table, partial(draw_shared, shared))


def _gradcam(model: DualEncoder, video: Path, units: list[str], frames: int) -> Explanation:
    """Show where in the frames each sentence is seen, from gradients."""
    from mova.explain.maps import saliency_maps

    return _saliency(saliency_maps(model, video, units, frames, "gradcam"))


def _occlusion(model: DualEncoder | EntailmentModel, video: Path, units: list[str], frames: int) -> Explanation:
    """Show where in the frames each sentence is seen, by occluding regions."""
    from mova.explain.maps import saliency_maps
    from mova.explain.video_llm import occlude_video_llm
    from mova.models.entailment import EntailmentModel

    if not isinstance(model, EntailmentModel):
        return _saliency(saliency_maps(model, video, units, frames, "occlusion"))
    with progress_bar() as bar:
        task = bar.add_task("occluding", total=None)
        return _saliency(
            occlude_video_llm(model, video, units, frames, lambda done, of: bar.update(task, completed=done, total=of))
        )


def _saliency(maps: SaliencyMaps) -> Explanation:
    from mova.plots.saliency import draw_saliency

    titles = {
        "cosine": f"{maps.score}s of frames and sentences",
        "fall": f"drop of the video's {maps.score} with a frame {maps.removal}",
    }
    table = Table(header_style="bold", title=titles[maps.measure], title_justify="left")
    table.add_column("sentence", max_width=SENTENCE_WIDTH)
    for time in maps.times:
        table.add_column(clock(float(time)), justify="right")
    digits = {"cosine": 2, "fall": 3}[maps.measure]
    for sentence, values in zip(maps.sentences, maps.values, strict=True):
        table.add_row(Text(sentence), *(f"{value:.{digits}f}" for value in values))
    return Explanation(maps.to_json(), table, partial(draw_saliency, maps))
