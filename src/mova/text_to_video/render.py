"""Render captions as videos in a run that can be stopped and resumed at any time (SynViTA, Section 3).

The file name identifies the row, prompt, seed and everything else that determines the content, so an existing file is
finished. A JSON file of the same name holds the video's `Synthetic`. It is written before the video gets its final
name, so no video exists without it. Starting the same run again renders only the missing videos.
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
from mova.data.synthetic import RenderRequest, Synthetic
from mova.errors import DataError, ModelError, VideoError
from mova.types import Pixels
from mova.utils.file_lock import sole_writer
from mova.video.writer import write_mp4

log = logging.getLogger(__name__)

FOLDER = "videos"
"""Folder of the videos within a run's folder."""
GIVE_UP = 5
"""Number of consecutive failures after which the remaining videos are not tried."""
CRF = 17
"""x264 quality of written videos: visually lossless, so that a model sees only the generator's artifacts."""

Progress = Callable[[int, int], None]
"""Called with (videos finished, total videos)."""


class Generator(Protocol):
    """A text-to-video generator: `text_to_video/diffusers_pipeline.py`, or any implementation of your own."""

    name: str
    fps: float

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that, with prompt and seed, determines the output, as JSON; names and paths are excluded."""

    def render(self, prompt: str, seed: int, /) -> Pixels:
        """Return uint8 (T, H, W, 3). Model-, Runtime-, Type- and ValueErrors count as a failure of this video only."""


@dataclass
class RenderResult:
    """Result of a run.

    Attributes:
        videos: videos by row id, in the order of the requests.
        made: number of videos rendered in this run.
        kept: number of videos that already existed.
        failed: (row id, caption, cause) of failed videos.
        untried: number of requests not tried after `GIVE_UP` failures.
    """

    videos: dict[str, list[Synthetic]] = field(default_factory=dict)
    made: int = 0
    kept: int = 0
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    untried: int = 0

    def add(self, row: str, video: Synthetic) -> None:
        """Add a video to a row."""
        self.videos.setdefault(row, []).append(video)


def render(
    requests: Sequence[RenderRequest],
    generator: Generator,
    folder: str | Path,
    *,
    seed: int = 0,
    versions: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> RenderResult:
    """Render the missing videos of `requests` into `folder/videos`.

    Args:
        requests: the videos to render.
        generator: the text-to-video generator.
        folder: folder of the run; only one process at a time may write to it.
        seed: seed of the run; see `RenderRequest.seed`.
        versions: library versions, recorded with every new video.
        progress: called after every video.

    Returns:
        The videos, with absolute paths.

    Raises:
        MovaError: another process is rendering into this folder.
    """
    target = Path(folder).absolute() / FOLDER
    result, failing = RenderResult(), 0
    with sole_writer(Path(folder)):
        target.mkdir(exist_ok=True)
        for leftover in (*target.glob(".*.part"), *target.glob(".*.partial")):
            leftover.unlink()
        for count, request in enumerate(requests):
            path = target / file_name(request, request.seed(seed), generator.identity)
            video = load_existing(path)
            if video is not None:
                result.kept += 1
            elif failing >= GIVE_UP:
                result.untried += 1
            else:
                video = _render_one(request, request.seed(seed), generator, path, versions or {}, result)
                failing = 0 if video is not None else failing + 1
            if video is not None:
                result.add(request.row, video)
            if progress is not None:
                progress(count + 1, len(requests))
    return result


def file_name(request: RenderRequest, seed: int, identity: Mapping[str, Any]) -> str:
    """Return the row's id, as far as file names allow, and a 16-digit hash of everything that determines the video."""
    key = [request.row, request.role, request.place, request.index, request.text, seed, identity]
    content = json.dumps(key, sort_keys=True, ensure_ascii=False, default=str)
    readable = re.sub(r"[^\w.-]+", "-", request.row, flags=re.ASCII).strip("-.")[:60]
    return f"{readable or 'row'}-{hashlib.blake2b(content.encode(), digest_size=8).hexdigest()}.mp4"


def load_existing(path: Path) -> Synthetic | None:
    """Load the record of a finished video from an earlier run; None if it has to be rendered."""
    if not path.is_file():
        return None
    try:
        return Synthetic.from_json({**json.loads(_record_path(path).read_text(encoding="utf-8")), "video": str(path)})
    except (OSError, ValueError, TypeError, RecursionError, DataError) as error:
        log.warning("%s: rendering it again, because its JSON file cannot be read (%s)", path, error)
        return None


def _render_one(
    request: RenderRequest,
    seed: int,
    generator: Generator,
    path: Path,
    versions: Mapping[str, str],
    result: RenderResult,
) -> Synthetic | None:
    """Render one video to disk; on failure return None and record the cause in `result`."""
    try:
        pixels = generator.render(request.text, seed)
        height, width = pixels.shape[1:3]
        settings = {
            "model": generator.name,
            **generator.identity,
            "height": height,
            "width": width,
            "frames": len(pixels),
            "versions": dict(versions),
        }
        video = Synthetic.from_request(request, path, len(pixels) / generator.fps, settings, seed)
        write_lines(_record_path(path), [json.dumps(video.to_json(), ensure_ascii=False, default=str)])
        write_mp4(path, [pixels], fps=generator.fps, crf=CRF)
    except (ModelError, VideoError, RuntimeError, TypeError, ValueError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.debug("%s: %s", request.row, cause, exc_info=True)
        result.failed.append((request.row, request.text, cause))
        return None
    result.made += 1
    return video


def _record_path(path: Path) -> Path:
    return path.with_suffix(".json")
