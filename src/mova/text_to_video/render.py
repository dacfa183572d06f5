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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mova.data.manifest import write_lines
from mova.data.synthetic import RenderRequest, Synthetic
from mova.errors import DataError, ModelError, VideoError
from mova.text_to_video.parts import Batch, Part, read_parts, write_part
from mova.types import Pixels
from mova.utils.cluster import LOST, Cluster, map_on_cluster
from mova.utils.file_lock import sole_writer
from mova.utils.files import seen_from
from mova.utils.hashing import digest
from mova.video.writer import write_mp4

log = logging.getLogger(__name__)

FOLDER = "videos"
"""Folder of the videos within a run's folder."""
GIVE_UP = 5
"""Number of consecutive failures after which the remaining videos are not tried."""
FAILURES = (ModelError, VideoError, RuntimeError, TypeError, ValueError)
"""Errors that count as a failure of a video."""
LOCKS = "locks"
"""Folder of the locks of parts."""
STAGE = "render"
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


@runtime_checkable
class BatchGenerator(Generator, Protocol):
    """A generator that can render several prompts at a time."""

    def render_many(self, prompts: Sequence[str], seeds: Sequence[int], /) -> Sequence[Pixels]:
        """Return one video, uint8 (T, H, W, 3), for each prompt and seed; errors as of `render`."""


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
    batch: int = 1,
    part: Part | None = None,
) -> RenderResult:
    """Render the missing videos of `requests` into `folder/videos`.

    Args:
        requests: the videos to render.
        generator: the text-to-video generator.
        folder: folder of the run; only one process at a time may write to it, or one per part.
        seed: seed of the run; see `RenderRequest.seed`.
        versions: library versions, recorded with every new video.
        progress: called after every batch.
        batch: number of videos to render at a time, by a `BatchGenerator`; if one of them fails, each is tried alone.
        part: which requests are rendered. Default: all.

    Returns:
        The videos, with absolute paths.

    Raises:
        MovaError: another process is rendering into this folder, or this part of it.
    """
    target = Path(folder).absolute() / FOLDER
    chosen = list(requests) if part is None else part.pick(requests)
    result, failing, videos = RenderResult(), 0, dict[int, Synthetic]()
    with sole_writer(Path(folder) if part is None else part.file(Path(folder) / LOCKS, "render", "")):
        target.mkdir(exist_ok=True)
        paths = [target / file_name(request, request.seed(seed), generator.identity) for request in chosen]
        _remove_unfinished(target, None if part is None else paths)
        run = _Run(generator, seed, versions or {}, result)
        for first in range(0, len(chosen), batch):
            numbers = range(first, min(first + batch, len(chosen)))
            existing = {number: video for number in numbers if (video := load_existing(paths[number])) is not None}
            missing = [number for number in numbers if number not in existing]
            result.kept += len(existing)
            if missing and failing >= GIVE_UP:
                result.untried += len(missing)
            elif missing:
                made = run.make([chosen[number] for number in missing], [paths[number] for number in missing])
                for number, video in zip(missing, made, strict=True):
                    failing = 0 if video is not None else failing + 1
                    if video is not None:
                        existing[number] = video
            videos |= existing
            if progress is not None:
                progress(numbers[-1] + 1, len(chosen))
    for number in sorted(videos):
        result.add(chosen[number].row, videos[number])
    return result


def render_on_cluster(
    requests: Sequence[RenderRequest],
    load: Callable[[], Generator],
    folder: str | Path,
    cluster: Cluster,
    *,
    seed: int = 0,
    versions: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    batch: int = 1,
) -> tuple[RenderResult, dict[str, Any]]:
    """Do what `render` does on a cluster whose nodes all see the folder; return also what the generator is.

    Args:
        requests, folder, seed, versions, progress, batch: as for `render`.
        load: returns the generator; called once per actor, so it can be pickled.
        cluster: where to render.

    Raises:
        MovaError: see `mova.utils.cluster.map_on_cluster`.
    """
    batches = Batch.all(len(requests), batch)
    arguments = {"load": load, "requests": list(requests), "folder": Path(folder).absolute(), "seed": seed}
    arguments |= {"versions": versions, "batch": batch}
    rendered: list[RenderResult] = [RenderResult() for _ in batches]
    origin, done = dict[str, Any](), 0

    def lost(part: Batch) -> tuple[RenderResult, dict[str, Any]]:
        """Return the failures of a batch whose workers died."""
        return RenderResult(failed=[(one.row, one.text, LOST) for one in part.pick(requests)]), {}

    for number, (found, identity) in map_on_cluster(batches, _NodeRenderer, cluster, lost, **arguments):
        rendered[number], origin = found, identity or origin
        done += len(batches[number].pick(requests))
        if progress is not None:
            progress(done, len(requests))
    result = RenderResult(made=sum(one.made for one in rendered), kept=sum(one.kept for one in rendered))
    for one in rendered:
        result.failed += one.failed
        result.untried += one.untried
        for row, videos in one.videos.items():
            for video in videos:
                result.add(row, video)
    return result, origin


class _NodeRenderer:
    """Renders batches of a run on a node of a cluster. Work that is repeated finds the videos that exist."""

    def __init__(self, load: Callable[[], Generator], **options: Any) -> None:
        self._generator, self._options = load(), options

    def __call__(self, part: Batch) -> tuple[RenderResult, dict[str, Any]]:
        """Return the videos of a batch, and what the generator is."""
        result = render(generator=self._generator, part=part, **self._options)
        return result, {"model": self._generator.name, **self._generator.identity}


def _remove_unfinished(folder: Path, paths: Sequence[Path] | None) -> None:
    """Remove temporary files of killed runs: all, or those of the given videos, if others may be rendering."""
    hashes = None if paths is None else {path.stem[-16:] for path in paths}
    for leftover in (*folder.glob(".*.part"), *folder.glob(".*.partial")):
        if hashes is None or hashes & set(re.findall(r"(?=([0-9a-f]{16}))", leftover.name)):
            leftover.unlink()


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


@dataclass(frozen=True)
class _Run:
    """Renders videos to disk, and records failures in `result`."""

    generator: Generator
    seed: int
    versions: Mapping[str, str]
    result: RenderResult

    def make(self, requests: Sequence[RenderRequest], paths: Sequence[Path]) -> list[Synthetic | None]:
        """Render a batch; None for each video that failed."""
        if len(requests) > 1 and isinstance(self.generator, BatchGenerator):
            try:
                texts, seeds = [request.text for request in requests], [request.seed(self.seed) for request in requests]
                pixels = self.generator.render_many(texts, seeds)
                return [self._write(*values, len(requests)) for values in zip(requests, paths, pixels, strict=True)]
            except FAILURES as error:
                log.debug("%d videos at a time: %s; trying each alone", len(requests), error)
        return [self._make_one(request, path) for request, path in zip(requests, paths, strict=True)]

    def _make_one(self, request: RenderRequest, path: Path) -> Synthetic | None:
        try:
            return self._write(request, path, self.generator.render(request.text, request.seed(self.seed)), 1)
        except FAILURES as error:
            cause = (str(error).strip() or type(error).__name__).splitlines()[0]
            log.debug("%s: %s", request.row, cause, exc_info=True)
            self.result.failed.append((request.row, request.text, cause))
            return None

    def _write(self, request: RenderRequest, path: Path, pixels: Pixels, batch: int) -> Synthetic:
        height, width = pixels.shape[1:3]
        settings = {
            "model": self.generator.name,
            **self.generator.identity,
            "height": height,
            "width": width,
            "frames": len(pixels),
            "versions": dict(self.versions),
            **({"batch": batch} if batch > 1 else {}),
        }
        fps = self.generator.fps
        video = Synthetic.from_request(request, path, len(pixels) / fps, settings, request.seed(self.seed))
        write_lines(_record_path(path), [json.dumps(video.to_json(), ensure_ascii=False, default=str)])
        write_mp4(path, [pixels], fps=fps, crf=CRF)
        self.result.made += 1
        return video


def _record_path(path: Path) -> Path:
    return path.with_suffix(".json")


def save_part(
    result: RenderResult, part: Part, requests: Sequence[RenderRequest], generator: Generator, folder: Path, seed: int
) -> Path:
    """Write what a part has rendered into the folder of the run, for `merge`.

    Args:
        result: of `render`.
        part: the part.
        requests: all requests of the run.
        generator, folder, seed: as for `render`.
    """
    videos = [
        {"row": row, **replace(video, video=seen_from(folder, video.video)).to_json()}
        for row, listed in result.videos.items()
        for video in listed
    ]
    settings = {**_settings(requests, seed), "generator": {"model": generator.name, **generator.identity}}
    content = {"videos": videos, "failed": result.failed, "untried": result.untried}
    return write_part(part, folder, STAGE, settings, content)


def merge(requests: Sequence[RenderRequest], folder: str | Path, seed: int = 0) -> tuple[RenderResult, dict[str, Any]]:
    """Join what all parts of a run have rendered, and return it with the generator.

    Args:
        requests: all requests of the run.
        folder, seed: as for `render`.

    Raises:
        DataError: a part is missing, was made with other settings or for other captions, or has a video twice or one
            that does not exist.
    """
    settings, contents = read_parts(folder, STAGE, _settings(requests, seed))
    result, found = RenderResult(), dict[tuple[Any, ...], Synthetic]()
    for content in contents:
        for entry in content["videos"]:
            path = Path(folder).absolute() / entry["video"]
            video = Synthetic.from_json({**{k: v for k, v in entry.items() if k != "row"}, "video": str(path)})
            key = (entry["row"], video.role, video.place, video.index)
            if key in found:
                raise DataError(f"{folder}: two shards have rendered {entry['row']!r}: {found[key].video} and {path}")
            if not path.is_file():
                raise DataError(f"{path}: does not exist; copy the videos of all shards into {Path(folder) / FOLDER}")
            found[key] = video
        result.failed += [(row, text, cause) for row, text, cause in content["failed"]]
        result.untried += int(content["untried"])
    for request in requests:
        known = found.get((request.row, request.role, request.place, request.index))
        if known is not None:
            result.kept += 1
            result.add(request.row, known)
    return result, dict(settings["generator"])


def _settings(requests: Sequence[RenderRequest], seed: int) -> dict[str, Any]:
    return {"captions": digest([json.dumps(asdict(request), sort_keys=True) for request in requests]), "seed": seed}
