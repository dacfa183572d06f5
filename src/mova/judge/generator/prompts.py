"""Read VBench's lists of prompts, find their videos, and write results in VBench's format."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mova.errors import DataError, UsageError
from mova.judge.batch import Request, read_prompts
from mova.judge.generator.axes import AXES
from mova.utils.files import find_videos
from mova.utils.tables import read_json
from mova.utils.text_files import read_text

_NUMBERED = re.compile(r"^(?P<prompt>.+)-\d+$", re.DOTALL)
"""Name of a video in VBench: the prompt, a hyphen, and the number of the sample."""


@dataclass
class PromptList:
    """Videos to measure.

    Attributes:
        requests: videos with their prompts.
        axes: prompt -> axes that it is meant for; prompts that are not listed are meant for all.
        without_video: prompts without a video.
        without_prompt: videos that match no prompt.

    >>> PromptList([Request("a.mp4", Path("a.mp4"), "A dog runs.")]).axes
    {}
    """

    requests: list[Request]
    axes: dict[str, frozenset[str]] = field(default_factory=dict)
    without_video: list[str] = field(default_factory=list)
    without_prompt: list[str] = field(default_factory=list)


def read_prompt_list(path: str | Path, videos: str | Path | None = None) -> PromptList:
    """Read a list of prompts and find their videos.

    Args:
        path: VBench's list (`.json`: objects with `prompt_en` and `dimension`), a text file with one prompt per line,
            or a table of videos and prompts (`mova.judge.batch.read_prompts`).
        videos: folder of the videos, default: that of the file. Videos of a list of prompts are named as in VBench,
            `PROMPT-0.mp4`, `PROMPT-1.mp4`, ...; only letters and digits are compared.

    Raises:
        UsageError: the file or the folder does not exist, or the extension is unknown.
        DataError: the file is damaged, has no prompts, or none of them has a video.

    >>> Path("renders").mkdir()
    >>> _ = Path("renders/Two discs.-0.mp4").write_bytes(Path("film.mp4").read_bytes())
    >>> _ = Path("prompts.txt").write_text("Two discs.\\nA dog runs.\\n", encoding="utf-8")
    >>> found = read_prompt_list("prompts.txt", "renders")
    >>> [request.video for request in found.requests], found.without_video
    (['Two discs.-0.mp4'], ['A dog runs.'])
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if path.suffix.lower() == ".txt":
        prompts = [line.strip() for line in read_text(path).split("\n") if line.strip()]
        return _found(path, dict.fromkeys(prompts, frozenset(AXES)), videos)
    if path.suffix.lower() == ".json" and isinstance(document := read_json(path), list):
        return _found(path, _vbench_prompts(path, document), videos)
    return PromptList(read_prompts(path, videos))


def _vbench_prompts(path: Path, document: Sequence[Any]) -> dict[str, frozenset[str]]:
    """Return the axes of each prompt; ours are measured on all of them."""
    own = frozenset(name for name, axis in AXES.items() if not axis.source.startswith("VBench"))
    axes: dict[str, frozenset[str]] = defaultdict(frozenset)
    for number, row in enumerate(document, start=1):
        prompt = row.get("prompt_en") if isinstance(row, Mapping) else None
        dimensions = row.get("dimension") if isinstance(row, Mapping) else None
        if not isinstance(prompt, str) or not prompt.strip() or not isinstance(dimensions, list):
            raise DataError(f"{path}: entry {number}: needs a text `prompt_en` and a list `dimension`")
        axes[prompt.strip()] |= own | {name for name in dimensions if name in AXES}
    return dict(axes)


def _found(path: Path, prompts: dict[str, frozenset[str]], videos: str | Path | None) -> PromptList:
    """Find the videos of prompts by their names."""
    if not prompts:
        raise DataError(f"{path}: has no prompts")
    root = path.parent if videos is None else Path(videos)
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder of videos")
    by_key = {_key(prompt): prompt for prompt in prompts}
    requests, unmatched = [], []
    for video in find_videos([root]):
        name = video.relative_to(root).as_posix()
        numbered = _NUMBERED.match(video.stem)
        prompt = by_key.get(_key(numbered["prompt"] if numbered else video.stem))
        if prompt is None:
            unmatched.append(name)
        else:
            requests.append(Request(name, video, prompt))
    if not requests:
        example = f"{next(iter(prompts))[:40]}-0.mp4"
        raise DataError(f"{root}: no video is named after a prompt of {path}, such as {example!r}")
    seen = {request.prompt for request in requests}
    return PromptList(requests, prompts, [prompt for prompt in prompts if prompt not in seen], unmatched)


def _key(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def vbench_results(values: Mapping[str, Mapping[str, float]]) -> dict[str, list[Any]]:
    """Return results as VBench writes them: dimension -> [mean, [{"video_path": ..., "video_results": ...}, ...]].

    Args:
        values: axis -> path of a video -> value.

    Example:
        >>> vbench_results({"dynamic_degree": {"a-0.mp4": 1.0, "b-0.mp4": 0.0}})["dynamic_degree"][0]
        0.5
    """
    return {
        axis: [
            sum(of_videos.values()) / len(of_videos),
            [{"video_path": path, "video_results": value} for path, value in of_videos.items()],
        ]
        for axis, of_videos in values.items()
        if of_videos
    }
