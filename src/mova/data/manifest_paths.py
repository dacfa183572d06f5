"""Refuse paths of a manifest that lead out of its folder, or to object storage; absolute paths are allowed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from mova.errors import DataError, object_uri

OUTSIDE = "MOVA_MANIFEST_OUTSIDE"
"""Environment variable that allows relative paths out of a manifest's folder, also in worker processes."""


def leads_outside(path: str) -> bool:
    """Return whether a relative path leads out of the folder that it is relative to.

    >>> leads_outside("a/../b.mp4"), leads_outside("a/../../b.mp4"), leads_outside("/data/b.mp4")
    (False, True, False)
    """
    return not os.path.isabs(path) and os.path.normpath(path).split(os.sep)[0] == os.pardir


def require_inside(videos: Iterable[str], synthetic: Any, where: str) -> None:
    """Refuse the paths of a row that lead out of the manifest's folder.

    Args:
        videos: paths of the row's videos.
        synthetic: the row's `meta.synthetic`, if any.
        where: file and line, for the message.

    Raises:
        DataError: a path does.
    """
    entries = synthetic if isinstance(synthetic, list) else []
    for path in [*videos, *(entry.get("video") for entry in entries if isinstance(entry, dict))]:
        if isinstance(path, str) and leads_outside(path):
            raise DataError(
                f"{where}: the path {path!r} leads out of the manifest's folder; write it as an absolute path, or "
                "allow such paths with `mova --manifest-outside COMMAND` (Python: `read_manifest(path, outside=True)`)"
            )


def require_local(videos: Iterable[str], manifest: object) -> None:
    """Refuse videos in object storage: a manifest of a stranger must not spend the credentials of the environment.

    Args:
        videos: as in the manifest.
        manifest: for the message.

    Raises:
        DataError: a video is an object.

    >>> require_local(["a.mp4", "s3://films/b.mp4"], "films.jsonl")
    Traceback (most recent call last):
        ...
    mova.errors.DataError: films.jsonl: names videos in object storage (1, the first: s3://films/b.mp4); this ...
    """
    objects = sorted({video for video in videos if object_uri(video) is not None})
    if objects:
        raise DataError(
            f"{manifest}: names videos in object storage ({len(objects)}, the first: {objects[0]}); this command reads "
            "files only. Download them, and write their paths into the manifest (`mova index` reads objects)"
        )
