"""The folders of a data set as its publishers ship it."""

from __future__ import annotations

import inspect
from pathlib import Path

from mova.data.readers.registry import DATA_SETS
from mova.errors import DataError

FOLDERS = ("annotations", "videos")
"""Folders within a data folder: the publishers' files, and the videos (or images)."""


def publisher_folders(recipe: str, data_set: str, data: str | Path | None) -> tuple[Path, Path]:
    """Return the annotations and videos folders of the user's data.

    Args:
        recipe: name of the recipe that needs them.
        data_set: name of the data set, as `mova data convert` knows it.
        data: folder that contains both; None if the user named none.

    Raises:
        DataError: one is missing; the message explains which files belong where.

    >>> _ = Path("download/annotations").mkdir(parents=True), Path("download/videos").mkdir()
    >>> [folder.name for folder in publisher_folders("activitynet", "activitynet", "download")]
    ['annotations', 'videos']
    """
    base = Path("DIR" if data is None else data)
    folders = base / FOLDERS[0], base / FOLDERS[1]
    absent = [str(folder) for folder in folders if data is None or not folder.is_dir()]
    if absent:
        description = inspect.cleandoc(DATA_SETS[data_set].reader.__doc__ or "")
        raise DataError(
            f"{recipe} needs the original data of {data_set}, which mova does not ship. Missing: "
            f"{' and '.join(absent)}.\nPut the publishers' files into {folders[0]} and the videos (or images), under "
            f"the publishers' names, into {folders[1]}; then pass --data {base}.\n{description}\n"
            f"To try all stages without data: mova reproduce {recipe} --one-step"
        )
    return folders
