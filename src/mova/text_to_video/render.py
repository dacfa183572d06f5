"""Render captions as videos, so that a run may be stopped at any moment and go on later (SynViTA, Section 3).

The name of a file stands for the row, prompt, seed and everything else that decides what is in it, so a file that is
there is done. Beside each video lies a JSON file of the same name with its `Synthetic`, written before the video gets
its name: a video without it cannot be. Whoever starts the same run again renders only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mova.data.manifest import write_lines
from mova.data.synthetic import Order, Synthetic
from mova.errors import DataError, ModelError, VideoError
from mova.types import Pixels
from mova.utils.file_lock import sole_writer
from mova.video.writer import write_mp4

log = logging.getLogger(__name__)

FOLDER = "videos"
"""Where the videos lie in a run's folder."""
GIVE_UP = 5
"""Failures one after another, with nothing rendered between them, after which the rest is not tried."""
CRF = 17
"""x264's quality of written videos: visually lossless, so that a model sees the generator's artefacts and no others."""

Progress = Callable[[int, int], None]
"""(videos done, videos in all)."""


class Generator(Protocol):
    """What renders: `text_to_video/diffusers_pipeline.py`, or any program of yours."""

    name: str
    fps: float

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides, with prompt and seed, what is rendered, as JSON; names and paths do not."""

    def render(self, prompt: str, seed: int, /) -> Pixels:
        """uint8, (T, H, W, 3). Model-, Runtime-, Type- and ValueErrors count as a failure of this video alone."""


@dataclass
class Rendered:
    """What a run made.

    Attributes:
        videos: row id -> its videos, in the order of the orders.
        made: how many were rendered now.
        kept: how many were there already.
        failed: (row id, caption, cause) of those that could not be.
        untried: orders that were not tried after `GIVE_UP` failures.
    """

    videos: dict[str, list[Synthetic]] = field(default_factory=dict)
    made: int = 0
    kept: int = 0
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    untried: int = 0

    def add(self, row: str, video: Synthetic) -> None:
        """One more video of a row."""
        self.videos.setdefault(row, []).append(video)


def render(
    orders: Sequence[Order],
    generator: Generator,
    folder: str | Path,
    *,
    seed: int = 0,
    versions: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Rendered:
    """Render what is missing of `orders` into `folder/videos`.

    Args:
        orders: what is wanted.
        generator: renders.
        folder: of the run; one process at a time may write there.
        seed: of the run; see `Order.seed`.
        versions: of libraries, kept with every video made now.
        progress: told after every video.

    Returns:
        The videos, with absolute paths.

    Raises:
        MovaError: another process renders into this folder.
    """
    target = Path(folder).absolute() / FOLDER
    done, failing = Rendered(), 0
    with sole_writer(Path(folder)):
        target.mkdir(exist_ok=True)
        for left in (*target.glob(".*.part"), *target.glob(".*.partial")):
            left.unlink()
        for count, order in enumerate(orders):
            path = target / file_name(order, order.seed(seed), generator.identity)
            video = known(path)
            if video is not None:
                done.kept += 1
            elif failing >= GIVE_UP:
                done.untried += 1
            else:
                video = _rendered(order, order.seed(seed), generator, path, versions or {}, done)
                failing = 0 if video is not None else failing + 1
            if video is not None:
                done.add(order.row, video)
            if progress is not None:
                progress(count + 1, len(orders))
    return done


def file_name(order: Order, seed: int, identity: Mapping[str, Any]) -> str:
    """The row's id as far as file names allow, and 16 hex digits over all that decides what the video shows."""
    told = [order.row, order.role, order.place, order.index, order.text, seed, identity]
    content = json.dumps(told, sort_keys=True, ensure_ascii=False, default=str)
    readable = re.sub(r"[^\w.-]+", "-", order.row, flags=re.ASCII).strip("-.")[:60]
    return f"{readable or 'row'}-{hashlib.blake2b(content.encode(), digest_size=8).hexdigest()}.mp4"


def known(path: Path) -> Synthetic | None:
    """What an earlier run says of a finished video; None where it has to be rendered."""
    if not path.is_file():
        return None
    try:
        return Synthetic.from_json({**json.loads(_beside(path).read_text(encoding="utf-8")), "video": str(path)})
    except (OSError, ValueError, TypeError, DataError) as error:
        log.warning("%s: rendered again, because what was kept beside it cannot be read (%s)", path, error)
        return None


def _rendered(
    order: Order, seed: int, generator: Generator, path: Path, versions: Mapping[str, str], done: Rendered
) -> Synthetic | None:
    """One video, on disk; None where that failed, and `done` says why."""
    try:
        pixels = generator.render(order.text, seed)
        height, width = pixels.shape[1:3]
        told = {
            "model": generator.name,
            **generator.identity,
            "height": height,
            "width": width,
            "frames": len(pixels),
            "versions": dict(versions),
        }
        video = Synthetic.made(order, path, len(pixels) / generator.fps, told, seed)
        write_lines(_beside(path), [json.dumps(video.to_json(), ensure_ascii=False, default=str)])
        write_mp4(path, [pixels], fps=generator.fps, crf=CRF)
    except (ModelError, VideoError, RuntimeError, TypeError, ValueError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.debug("%s: %s", order.row, cause, exc_info=True)
        done.failed.append((order.row, order.text, cause))
        return None
    done.made += 1
    return video


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")
