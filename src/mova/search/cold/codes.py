"""Code vectors as 8-bit integers: half the size of half precision, and several times as fast to scan.

A unit vector v is rotated (signs and a Hadamard transform, which spread large components over the others) and rounded:
R v = s c + r, with integers c from -127 to 127. The codes c, the scale s and the length of r are stored. A query q is
coded likewise: R q = t e + u. A rotation preserves inner products, hence

    |q v - s t (c e)| <= |t e| |r| + |u| |v|,

by the Cauchy-Schwarz inequality. The scan thus bounds every cosine, and only the frames whose bound reaches the best
exact cosines are scored exactly. The answer is that of an exact scan.

Shape legend: R rows, n rows of one block, d width of the model's space.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

BLOCK_ROWS = 1 << 15
"""Rows that are scanned at a time."""
SHARED_ROWS = 1 << 11
"""The same for several queries: the rows stay in the processor's cache."""
NUMPY_ROWS = 1024
"""Rows that NumPy multiplies at a time: their float32 copy stays in the processor's cache."""
THREAD_ROWS = 1 << 17
"""Rows from which two threads scan."""
SLACK = 2e-5
"""Tolerance of all bounds, for rounding in float32; ten times what it can be."""
LENGTH = 1.01
"""Highest length of a stored vector that counts as one (`unit_length`)."""
GROUP = 32
"""Values, far apart, that `highest` first reduces to their highest one."""

_F32 = npt.NDArray[np.float32]
_I8 = npt.NDArray[np.int8]


class Codes(NamedTuple):
    """Coded vectors.

    Attributes:
        values: integers, int8, (R, d).
        scales: float32, (R, 2): the scale of a row, and the length of its rounding error.
    """

    values: _I8
    scales: _F32


class Bounds(NamedTuple):
    """Estimates and upper bounds of the cosines of a query with all rows.

    Attributes:
        estimate: float32, (R,).
        upper: float32, (R,): no cosine is higher.
    """

    estimate: _F32
    upper: _F32


def encode(vectors: _F32) -> Codes:
    """Return the codes of unit vectors (n, d). The bound of any other vector is so high that it is always scored.

    Example:
        >>> codes = encode(np.eye(4, dtype=np.float32)[:2])
        >>> codes.values.shape, codes.values.dtype, bool(codes.scales[:, 1].max() < 0.01)
        ((2, 4), dtype('int8'), True)
    """
    rotated = _rotated(np.nan_to_num(vectors, posinf=0, neginf=0))
    scale = np.maximum(np.abs(rotated).max(axis=1, initial=0), 1e-12) / 127
    values = np.rint(rotated / scale[:, None])
    rest = np.linalg.norm(rotated - values * scale[:, None], axis=1)
    length = np.linalg.norm(vectors, axis=1)
    sound = (length < LENGTH) & (length > 0)
    scales = np.stack([np.where(sound, scale, 0), np.where(sound, rest, 1e3)], axis=1)
    return Codes(np.clip(values, -127, 127).astype(np.int8), scales.astype(np.float32))


def scan(codes: Codes, query: _F32) -> Bounds:
    """Return bounds of the cosines of a unit vector (d,) with all rows.

    Example:
        >>> rows = np.eye(8, dtype=np.float32)
        >>> bounds = scan(encode(rows), rows[3])
        >>> int(bounds.estimate.argmax()), bool(np.all(rows @ rows[3] <= bounds.upper))
        (3, True)
    """
    return scan_together(codes, query[None])[0]


def scan_together(codes: Codes, queries: _F32) -> list[Bounds]:
    """Return the bounds of each of several unit vectors (n, d); every row is read once for all of them.

    Example:
        >>> rows = np.eye(8, dtype=np.float32)
        >>> [int(bounds.estimate.argmax()) for bounds in scan_together(encode(rows), rows[[3, 5]])]
        [3, 5]
    """
    rotated = _rotated(queries)
    scale = np.maximum(np.abs(rotated).max(axis=1).astype(np.float64), 1e-12) / 127
    values = np.rint(rotated / scale[:, None]).astype(np.int8)
    length = np.linalg.norm(values.astype(np.float64), axis=1) * scale
    lost = np.linalg.norm(rotated - values * scale[:, None], axis=1) * LENGTH + SLACK
    count, rows = len(queries), len(codes.values)
    estimates, uppers = np.empty((count, rows), np.float32), np.empty((count, rows), np.float32)
    block = BLOCK_ROWS if count == 1 else SHARED_ROWS

    def scan_block(start: int) -> None:
        """Fill in the estimates and bounds of one block of rows."""
        part = slice(start, start + block)
        products, scales = _products(values, codes.values[part]), codes.scales[part]
        for i in range(count):
            estimate, upper = estimates[i, part], uppers[i, part]
            np.multiply(products[i], scales[:, 0], out=estimate)
            estimate *= np.float32(scale[i])
            np.multiply(scales[:, 1], np.float32(length[i]), out=upper)
            upper += np.float32(lost[i])
            upper += estimate

    starts = range(0, rows, block)
    if rows < THREAD_ROWS or (os.cpu_count() or 1) < 2 or _simsimd() is None:  # NumPy has threads of its own
        for start in starts:
            scan_block(start)
    else:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(scan_block, starts))
    return [Bounds(*pair) for pair in zip(estimates, uppers, strict=True)]


def highest(values: _F32, count: int) -> npt.NDArray[np.int64]:
    """Return the indices of the `count` highest values, in no order.

    The highest values of small groups give a threshold that at least `count` values reach; few others do. A group is a
    column of a wide matrix, so that the processor compares many groups at once.

    Example:
        >>> sorted(highest(np.array([0.1, 0.9, 0.3, 0.8], np.float32), 2).tolist())
        [1, 3]
    """
    groups = len(values) // GROUP
    if count >= groups:
        near = np.arange(len(values))
    else:
        tops = values[: groups * GROUP].reshape(GROUP, groups).max(axis=0)
        near = np.flatnonzero(values >= np.partition(tops, groups - count)[groups - count])
    if count < len(near):
        near = near[np.argpartition(values[near], len(near) - count)[len(near) - count :]]
    return near


def _products(queries: _I8, values: _I8) -> _F32:
    """Return the products (m, n) of coded queries (m, d) with coded rows (n, d): integers, exact below 2^24."""
    simsimd = _simsimd()
    if simsimd is not None:
        # Not with `out=`: SimSIMD 6.5 then returns None without counting the reference, which ends Python before 3.12.
        return np.asarray(simsimd.cdist(queries, values, metric="dot", out_dtype="f32"))
    out = np.empty((len(queries), len(values)), np.float32)
    wide = queries.astype(np.float32)
    for start in range(0, len(values), NUMPY_ROWS):
        block = values[start : start + NUMPY_ROWS].astype(np.float32)
        np.matmul(wide, block.T, out=out[:, start : start + len(block)])
    return out


@cache
def _simsimd() -> Any:
    """Return SimSIMD, which uses the processor's 8-bit instructions, or None if it is not installed."""
    try:
        import simsimd
    except ImportError:
        return None
    return simsimd


def _rotated(rows: _F32) -> _F32:
    """Return vectors (n, d) after a fixed rotation of their space."""
    n, d = rows.shape
    width = min(d & -d, 512)
    hashes = np.arange(d, dtype=np.uint64) * np.uint64(0x9E3779B1) >> np.uint64(13)
    signs = np.where(hashes & np.uint64(1), -1, 1).astype(np.float32)
    blocks = (rows * signs).reshape(n, d // width, width)
    return np.matmul(blocks, _hadamard(width), dtype=np.float32).reshape(n, d)


@cache
def _hadamard(width: int) -> _F32:
    """Return Sylvester's matrix (width, width), orthogonal; `width` is a power of two."""
    matrix = np.ones((1, 1), dtype=np.float32)
    while len(matrix) < width:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return (matrix / np.sqrt(width)).astype(np.float32)
