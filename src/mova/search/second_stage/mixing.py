"""Mix the scores of two stages, with a weight that was measured on queries with known answers, or half and half.

Both scores of the moments of one query are standardized (mean 0, variance 1, over the moments that both stages scored),
as in the combination of search results by standard scores (Wu, Crestani and Bi 2006, "Evaluating score normalization
methods in data fusion"), and then averaged with a weight w from 0 (first stage alone) to 1 (second alone):

    mixed = (1 - w) z_first + w z_second

Shape legend: n moments of one query.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mova.search.cold.state import model_state, read_signed, write_signed

if TYPE_CHECKING:
    from mova.search.storage.records import Meta

NAME, LAYOUT = "rerank.json", 1
EQUAL = 0.5
"""Weight of another model that was not measured."""

_F64 = npt.NDArray[np.float64]


def mixed_scores(first: npt.ArrayLike, second: npt.ArrayLike, weight: float) -> _F64:
    """Return the mixed scores (n,) of moments from their scores (n,) in both stages.

    >>> mixed_scores([3.0, 2.0, 1.0], [0.0, 0.0, 6.0], 0.5).round(3).tolist()
    [0.259, -0.354, 0.095]
    >>> mixed_scores([3.0, 2.0, 1.0], [0.0, 0.0, 6.0], 0.0).argsort().tolist()
    [2, 1, 0]
    """
    mixed: _F64 = (1 - weight) * standardized(first) + weight * standardized(second)
    return mixed


def standardized(scores: npt.ArrayLike) -> _F64:
    """Return scores with mean 0 and variance 1; zeros if all are equal.

    >>> standardized([1.0, 3.0]).tolist(), standardized([2.0, 2.0]).tolist()
    ([-1.0, 1.0], [0.0, 0.0])
    """
    values = np.asarray(scores, dtype=np.float64)
    offsets: _F64 = values - values.mean()
    spread = float(offsets.std())
    return offsets / spread if spread > 1e-12 * max(1.0, float(np.abs(values).max())) else np.zeros_like(offsets)


@dataclass(frozen=True)
class Mixing:
    """A measured weight.

    Attributes:
        weight: share of the second model; 0: it did not help.
        gain: mean gain of the reciprocal rank on queries that the weight was not chosen on.
        error: its standard error.
        queries: number of queries.
        top: number of moments per query that the second model was asked about.

    >>> Mixing(weight=0.3, gain=0.05, error=0.02, queries=100, top=20).weight
    0.3
    """

    weight: float
    gain: float
    error: float
    queries: int
    top: int


def read_mixing(folder: Path | None, meta: Meta, second: str, asked: str = "") -> Mixing | None:
    """Return the weight that was measured for an index and another model; None if none was.

    Args:
        folder: of the index; None for a remote one.
        meta: of the index.
        second: name or folder of the second model.
        asked: how it is asked, see `Reranker.asked`.

    >>> import mova
    >>> index = mova.Index("films.mova", "mova-worlds-tiny")
    >>> len(index.add("films").indexed)
    2
    >>> read_mixing(index.folder, index.meta, "another-model") is None
    True
    """
    document = None if folder is None else read_signed(folder / NAME)
    if document is None or document.get("layout") != LAYOUT:
        return None
    found = document["mixings"].get(_key(meta, second, asked))
    return None if found is None or found["state"] != model_state(second) else Mixing(**found["mixing"])


def write_mixing(folder: Path, meta: Meta, second: str, mixing: Mixing, asked: str = "") -> None:
    """Keep a weight beside the tables of an index; see `read_mixing`.

    Raises:
        OSError: the file cannot be written.

    >>> import mova
    >>> index = mova.Index("films.mova", "mova-worlds-tiny")
    >>> len(index.add("films").indexed)
    2
    >>> write_mixing(index.folder, index.meta, "another-model", Mixing(0.0, 0.01, 0.02, 100, 20))
    >>> read_mixing(index.folder, index.meta, "another-model").weight
    0.0
    """
    document: dict[str, Any] = read_signed(folder / NAME) or {}
    kept = document["mixings"] if document.get("layout") == LAYOUT else {}
    entry = {"state": model_state(second), "mixing": asdict(mixing)}
    mixings = {**kept, _key(meta, second, asked): entry}
    write_signed(folder / NAME, {"layout": LAYOUT, "mixings": mixings})


def _key(meta: Meta, second: str, asked: str) -> str:
    """Name a pair of models: another first model, rate, number of frames or prompt needs another measurement."""
    path = Path(second).expanduser()
    name = str(path.resolve()) if path.is_dir() else second
    return f"{meta.fingerprint} at {meta.frame_rate:g}, {name}, {asked}"
