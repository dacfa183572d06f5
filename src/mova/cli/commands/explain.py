"""`mova explain`: pictures of why a model says that a video shows a caption."""

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
from mova.cli.options import Caption, Json, Loading, Model
from mova.errors import UsageError

if TYPE_CHECKING:
    from mova.explain.maps import SaliencyMaps
    from mova.models.encoder import DualEncoder
    from mova.models.entailment import EntailmentModel

FRAMES = 8


@dataclass(frozen=True)
class Explanation:
    """An answer in its three forms."""

    document: dict[str, Any]
    table: Table
    draw: Callable[[Path], None]


class Method(StrEnum):
    """What is shown."""

    SUBSETS = "subsets"
    GRADCAM = "gradcam"
    OCCLUSION = "occlusion"


def explain(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")],
    plot: Annotated[Path, typer.Option(help="The picture to write, .png.")],
    caption: Caption,
    loading: Loading,
    method: Annotated[
        Method,
        typer.Option(
            help="Which sentences each frame selects (subsets), or where in a frame a sentence is seen: by gradients "
            "(gradcam) or by covering small parts (occlusion: slower, works with every model)."
        ),
    ] = Method.SUBSETS,
    frames: Annotated[
        int, typer.Option(min=1, help="Most frames to show: the best one of each sentence, then evenly spaced ones.")
    ] = FRAMES,
    sentences: Annotated[
        str | None, typer.Option(help="Only these sentences of the caption, by number: 1,3 (all if left out).")
    ] = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Show what a model sees of a caption in a video: which sentences per frame, or where in the frames."""
    from mova.models.entailment import EntailmentModel
    from mova.models.registry import DEFAULT_MODEL, load_any
    from mova.text.units import sentences_or_windows

    units = _choose(sentences_or_windows(caption.read()), sentences)
    if plot.suffix.lower() != ".png":
        raise UsageError(f"--plot {plot}: only .png can be written")
    encoder = load_any(model or DEFAULT_MODEL, **loading.arguments())
    if method is Method.OCCLUSION:
        explanation = _occlusion(encoder, video, units, frames)
    elif isinstance(encoder, EntailmentModel):
        raise UsageError(f"{encoder.name}: a video LLM has no vectors of frames; use --method occlusion")
    elif method is Method.SUBSETS:
        explanation = _subsets(encoder, video, units, frames)
    else:
        explanation = _gradcam(encoder, video, units, frames)
    if json:
        emit(explanation.document)
    else:
        show(explanation.table)
    write_plot(explanation.draw, plot)


def _choose(units: list[str], numbers: str | None) -> list[str]:
    """The sentences with these numbers, counted from 1, in the caption's order.

    Raises:
        UsageError: something else than numbers, or one that no sentence has.
    """
    if numbers is None:
        return units
    wanted = {part.strip() for part in numbers.split(",")}
    known = {str(i + 1) for i in range(len(units))}
    if not wanted <= known:
        raise UsageError(f"--sentences {numbers}: say numbers from 1 to {len(units)} with commas between, as 1,2")
    return [unit for i, unit in enumerate(units) if str(i + 1) in wanted]


def _subsets(model: DualEncoder, video: Path, units: list[str], frames: int) -> Explanation:
    """What each frame selects."""
    from mova.explain.subsets import select_subsets
    from mova.plots.subsets import draw_subsets

    found = select_subsets(model, video, units, frames)
    table = Table(header_style="bold", title=f"weights by {found.rule}", title_justify="left")
    table.add_column("frame", justify="right")
    table.add_column("strongest sentence", max_width=SENTENCE_WIDTH)
    table.add_column("weight", justify="right")
    table.add_column("none", justify="right")
    for frame in found.shown:
        unit, weights = found.strongest(frame)[0], found.weights[frame]
        shares = f"{weights[unit]:.2f}", f"{weights[-1]:.2f}"
        table.add_row(clock(float(found.times[frame])), Text(found.sentences[unit]), *shares)
    return Explanation(found.to_json(), table, partial(draw_subsets, found))


def _gradcam(model: DualEncoder, video: Path, units: list[str], frames: int) -> Explanation:
    """Where in the frames each sentence is seen, by gradients."""
    from mova.explain.maps import saliency_maps

    return _saliency(saliency_maps(model, video, units, frames, "gradcam"))


def _occlusion(model: DualEncoder | EntailmentModel, video: Path, units: list[str], frames: int) -> Explanation:
    """Where in the frames each sentence is seen, by covering."""
    from mova.explain.maps import saliency_maps
    from mova.explain.video_llm import occlude_video_llm
    from mova.models.entailment import EntailmentModel

    if not isinstance(model, EntailmentModel):
        return _saliency(saliency_maps(model, video, units, frames, "occlusion"))
    with progress_bar() as bar:
        task = bar.add_task("covering", total=None)
        return _saliency(
            occlude_video_llm(model, video, units, frames, lambda done, of: bar.update(task, completed=done, total=of))
        )


def _saliency(found: SaliencyMaps) -> Explanation:
    from mova.plots.saliency import draw_saliency

    titles = {
        "cosine": "cosines of frames and sentences",
        "fall": f"fall of the video's {found.score} with a frame {found.lacking}",
    }
    table = Table(header_style="bold", title=titles[found.measure], title_justify="left")
    table.add_column("sentence", max_width=SENTENCE_WIDTH)
    for time in found.times:
        table.add_column(clock(float(time)), justify="right")
    digits = {"cosine": 2, "fall": 3}[found.measure]
    for sentence, values in zip(found.sentences, found.values, strict=True):
        table.add_row(Text(sentence), *(f"{value:.{digits}f}" for value in values))
    return Explanation(found.to_json(), table, partial(draw_saliency, found))
