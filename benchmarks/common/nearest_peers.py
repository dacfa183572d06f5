"""Other engines that find nearest frames, in the place of ours: FAISS and USearch, if they are installed.

Neither is a dependency of mova. FAISS (Douze et al., arXiv 2401.08281): flat (exact), IVF (lists of frames near a
centroid) and HNSW (a graph; Malkov and Yashunin, arXiv 1603.09320). USearch: HNSW of half-precision vectors.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mova.search.cold.snapshot import Snapshot

LISTS, PROBES = 4, (32, 128)
"""IVF: lists per square root of the number of frames (the guideline of FAISS), and lists that are visited."""
LINKS, BREADTH = 32, (256, 1024)
"""HNSW: neighbors per frame, and candidates that are kept during a search."""
SLOW_GRAPH = 200_000
"""Frames up to which a graph of USearch is built: one of a million takes about an hour of two cores."""

Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""Takes a unit vector (d,) and a number; returns rows and cosines, best first."""


class Engine(NamedTuple):
    """A built index of another engine.

    Attributes:
        searches: find the nearest rows, by the setting that they are made with.
        save: writes it to a file.
    """

    searches: Mapping[str, Search]
    save: Callable[[Path], None]


class Peer(NamedTuple):
    """An engine that may be installed.

    Attributes:
        name: for the table.
        package: to install.
        build: makes an index of vectors, float32, (R, d).
        load: reads one that was saved.
        most: frames of the largest index that is worth its time.
    """

    name: str
    package: str
    build: Callable[[np.ndarray], Engine]
    load: Callable[[Path], Engine]
    most: int


def installed() -> Iterator[Peer]:
    """Yield the engines that can be imported; print a line for each package that cannot."""
    for package, module, peers in (
        ("faiss-cpu", "faiss", [("flat", "Flat"), ("IVF", None), ("HNSW", f"HNSW{LINKS},Flat")]),
        ("usearch", "usearch.index", [("HNSW", "")]),
    ):
        try:
            library = import_module(module)
        except ImportError as error:
            print(f"not compared: {package} is not installed ({error})")
            continue
        for kind, factory in peers:
            if module == "faiss":
                yield _faiss(library, kind, package, factory)
            else:
                yield _usearch(library, kind, package)


def _faiss(faiss: Any, kind: str, package: str, factory: str | None) -> Peer:
    """Return an engine of FAISS; without a factory, IVF with lists for the number of frames."""

    def searches(index: Any) -> Engine:
        """Return the searches of an index, one for each setting."""

        def searching(owner: Any = None, key: str = "", value: int = 0) -> Search:
            """Return a search with a setting."""

            def search(vector: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
                """Ask for the nearest rows; lists that were visited may have fewer."""
                if owner is not None:
                    setattr(owner, key, value)
                cosines, rows = index.search(vector[None], limit)
                found = rows[0] >= 0
                return rows[0][found], cosines[0][found]

            return search

        if factory is None:
            settings = {f", {number} lists": searching(index, "nprobe", number) for number in PROBES}
        elif factory.startswith("HNSW"):
            settings = {f", breadth {number}": searching(index.hnsw, "efSearch", number) for number in BREADTH}
        else:
            settings = {"": searching()}
        return Engine(settings, lambda path: faiss.write_index(index, str(path)))

    def build(vectors: np.ndarray) -> Engine:
        """Train, if there is something to train, and add all vectors."""
        count, dim = vectors.shape
        lists = max(1, LISTS * round(math.sqrt(count)))
        index = faiss.index_factory(dim, factory or f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(vectors[:: max(1, count // (40 * lists))])
        index.add(vectors)
        return searches(index)

    return Peer(f"FAISS {kind}", package, build, lambda path: searches(faiss.read_index(str(path))), sys.maxsize)


def _usearch(usearch: Any, kind: str, package: str) -> Peer:
    """Return the engine of USearch."""

    def searches(index: Any) -> Engine:
        """Return the searches of an index, one for each breadth."""

        def searching(breadth: int) -> Search:
            """Return a search with a breadth."""

            def search(vector: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
                """Ask for the nearest rows."""
                index.expansion_search = breadth
                found = index.search(vector, limit)
                return np.asarray(found.keys, np.int64), 1 - np.asarray(found.distances, np.float32)

            return search

        settings = {f", breadth {number}": searching(number) for number in BREADTH}
        return Engine(settings, lambda path: index.save(str(path)))

    def build(vectors: np.ndarray) -> Engine:
        """Add all vectors to a graph."""
        index = usearch.Index(ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=LINKS)
        index.add(np.arange(len(vectors)), vectors, threads=os.cpu_count() or 1)
        return searches(index)

    def load(path: Path) -> Engine:
        """Read a file into memory."""
        return searches(usearch.Index.restore(str(path)))

    return Peer(f"USearch {kind}, half precision", package, build, load, SLOW_GRAPH)


def half_precision(vectors: Any, part: int) -> Search | None:
    """Return an exact search of FAISS in vectors of half precision, with half the memory of "flat"; None without FAISS.

    Args:
        vectors: (R, d), in half precision; an array, or rows that are read when they are sliced.
        part: rows that are added at once.
    """
    try:
        faiss = import_module("faiss")
    except ImportError as error:
        print(f"not compared: faiss-cpu is not installed ({error})")
        return None
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    index = faiss.IndexScalarQuantizer(vectors[:1].shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for first in range(0, len(vectors), part):
        index.add(vectors[first : first + part].astype(np.float32))

    def search(vector: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Ask for the nearest rows."""
        cosines, rows = index.search(vector[None], limit)
        return rows[0], cosines[0]

    return search


class Replaced:
    """A snapshot whose nearest frames another engine finds. Everything else of a search is as with the snapshot.

    Args:
        snapshot: without removed videos.
        search: of an engine that was built from all of its vectors, in their order.
    """

    def __init__(self, snapshot: Snapshot, search: Search) -> None:
        self._snapshot, self._search = snapshot, search
        first = sorted((row, content) for content, row in snapshot.first_rows.items())
        self._starts, self._contents = np.array([row for row, _ in first]), [content for _, content in first]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._snapshot, name)

    def nearest(self, query: np.ndarray, limit: int, /) -> tuple[list[str], np.ndarray]:
        """Return the contents of the frames that the engine finds, and their cosines, best first."""
        rows, cosines = self._search(query, min(limit, self._snapshot.count_frames()))
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        return [self._contents[i] for i in owners.tolist()], cosines.astype(np.float32)
