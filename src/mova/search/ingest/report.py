"""The result of a run of `mova index`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

Progress = Callable[[str, float, float], None]
"""(file, seconds of video done, seconds of video that this run reads in total), called after every encoded chunk."""


@runtime_checkable
class CountsFiles(Protocol):
    """A `Progress` that also wants to know the number of the present file."""

    def at_file(self, number: int, total: int) -> None:
        """Take the number of the present file, from 1, and how many files this run reads in total."""


SUFFIXES_NAMED = 8
"""Suffixes of files passed over that are named in a message."""


@dataclass
class IngestReport:
    """The result of a run. Paths are absolute.

    Attributes:
        indexed: new or changed files that were read.
        unchanged: files that were already in the index.
        moved: new paths of content that was already in the index (moved or copied files; not decoded).
        removed: paths dropped because their file is gone (not moved).
        failed: files that cannot be read, with the cause; their old content is dropped, and the next run tries again.
        warnings: files that were read, but not all of them, with what was not.
        passed_over: number of files in the folders that are not known as videos, by suffix ("" for none).
        frames: number of frames encoded.
        stored: number of vectors stored for them: fewer if the index has a novelty, see `Index.add`.
        seconds: elapsed time of `run`, which neither lists the files nor loads the model.

    Example:
        >>> report = IngestReport(indexed=["/films/a.mp4"], failed=[("/films/b.mp4", "is empty")])
        >>> report.worked, report.to_json()["failed"]
        (True, [{'path': '/films/b.mp4', 'cause': 'is empty'}])
    """

    indexed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)
    frames: int = 0
    stored: int = 0
    seconds: float = 0.0

    @property
    def worked(self) -> bool:
        """Whether any file of the run is in the index now."""
        return bool(self.indexed or self.unchanged or self.moved)

    @property
    def changed(self) -> bool:
        """Whether the run changed the index, or found files that cannot be read."""
        return bool(self.indexed or self.moved or self.removed or self.failed)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `mova index --json` prints."""
        return {
            "indexed": self.indexed,
            "unchanged": self.unchanged,
            "moved": self.moved,
            "removed": self.removed,
            "failed": [{"path": path, "cause": cause} for path, cause in self.failed],
            "warnings": [{"path": path, "warning": warning} for path, warning in self.warnings],
            "passed_over": self.passed_over,
            "frames": self.frames,
            "stored": self.stored,
            "seconds": round(self.seconds, 3),
        }


def describe_passed_over(counts: Mapping[str, int]) -> str:
    """Return a line that names the suffixes of files that are not known as videos.

    Example:
        >>> describe_passed_over({".txt": 12, "": 1})
        'passed over: 12 .txt, 1 without a suffix; not known as videos, `mova index --all` tries them'
    """
    common = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    names = [f"{count} {suffix or 'without a suffix'}" for suffix, count in common[:SUFFIXES_NAMED]]
    rest = sum(count for _, count in common[SUFFIXES_NAMED:])
    others = f", {rest} others" if rest else ""
    return f"passed over: {', '.join(names)}{others}; not known as videos, `mova index --all` tries them"
