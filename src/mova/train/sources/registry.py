"""Data sources by name: `data.kind` of a recipe.

To add one: a frozen dataclass of its settings that satisfies `DataSource` of `train/sources/base.py`, and a line in
`SOURCES`.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

from mova.errors import UsageError

SOURCES: dict[str, str] = {
    "worlds": "mova.train.sources.worlds:WorldsSource",
    "manifest": "mova.train.sources.pairs:PairSource",
    "labels": "mova.train.sources.labelled:LabelSource",
    "triplets": "mova.train.sources.triplets:TripletSource",
}
"""Name -> path of its settings class, which is imported when it is first used."""


def find_source(kind: object) -> type[Any]:
    """Return the settings class of a data source by name.

    Raises:
        UsageError: unknown name.
    """
    if kind not in SOURCES:
        raise UsageError(f"data.kind {kind!r} is unknown; choose from {', '.join(SOURCES)}")
    source_class = resolve_name(SOURCES[str(kind)])
    assert isinstance(source_class, type)
    return source_class
