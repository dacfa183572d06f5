"""What results have in common: a table in notebooks and in pandas, and a picture."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any


class Displayed:
    """Mixin of results: a table in notebooks and in pandas, and a picture (`mova.plots.notebook`).

    Example:
        >>> from mova.types import Moment
        >>> print(Moment("film.mp4", 2.5, 6.0, score=0.75).rows())
        [{'video': 'film.mp4', 'start': 2.5, 'end': 6.0, 'score': 0.75, 'false_alarm': None, 'evidence': None}]
    """

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table, with equal keys. Times are seconds; what is not known is None."""
        raise NotImplementedError

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns, which a table without rows has too; empty: those of the rows."""
        return ()

    def to_pandas(self) -> Any:
        """Return the rows as a `pandas.DataFrame`.

        Raises:
            UsageError: pandas is not installed.
        """
        return resolve_name("mova.utils.tables:data_frame")(self.rows(), self.columns())

    def plot(self, path: Any = None) -> Any:
        """Draw a picture, and return it: it shows itself in notebooks, and has `save(path)` and `show()`.

        Args:
            path: also write it to this file: `.png`, or `.html` where the picture has that form.

        Raises:
            UsageError: another extension.
            VideoError: a video whose pictures are drawn cannot be read.
        """
        return resolve_name("mova.plots.notebook:picture")(self, path)

    def _repr_html_(self) -> str:
        html: str = resolve_name("mova.plots.notebook:to_html")(self)
        return html
