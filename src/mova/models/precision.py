"""Device, precision and threads of a model, and hashes of its weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mova.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16")


def choose_device(device: str | torch.device | None) -> torch.device:
    """Return the requested device; default: a GPU if there is one, else the CPU.

    With several processes per machine (torchrun, accelerate), the default is the GPU of the process: that of its local
    rank, or the only one that the launcher lets it see.

    Raises:
        UsageError: a device that torch does not know or this machine does not have, or more processes than GPUs.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    available = torch.cuda.is_available()
    if device is None:
        return _own_gpu() if available else torch.device("cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"device {device!r} is unknown; use cpu or cuda") from error
    if chosen.type == "cuda" and not available:
        raise UsageError(f"device {device!r}: PyTorch finds no such GPU; use cpu")
    return chosen


def _own_gpu() -> torch.device:
    """Return the GPU of this process."""
    local, count = int(os.environ.get("LOCAL_RANK") or 0), torch.cuda.device_count()
    if not launched_with_others() or count == 1:
        return torch.device("cuda")
    if local >= count:
        raise UsageError(
            f"process {local} of this machine has no GPU of its own: it has {count}; start {count} processes"
        )
    return torch.device("cuda", local)


def launched_with_others() -> bool:
    """Return whether a launcher (torchrun, accelerate) has started this process as one of several.

    >>> launched_with_others()
    False
    """
    return int(os.environ.get("WORLD_SIZE") or 1) > 1 and "LOCAL_RANK" in os.environ


def refuse_spreading(device_map: str | dict[str, Any] | None) -> None:
    """Raise if one of several processes would spread a model over the GPUs of all.

    Raises:
        UsageError: it would.

    >>> refuse_spreading("auto")  # the only process: allowed
    """
    if isinstance(device_map, str) and launched_with_others():
        raise UsageError(
            f"device_map {device_map!r} would put the model of each process on the GPUs of all; omit it (each process "
            "then has its own GPU), or start one process"
        )


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the type of the weights for a precision on a device.

    "auto" is bf16 on GPUs that support it and on CPUs with AVX512-BF16 or AMX, else fp32. For inference bf16 weights
    are faster than bf16 autocast: nothing is cast back and forth, and half the memory is read.

    Raises:
        UsageError: an unknown precision.

    >>> choose_dtype("bf16", choose_device("cpu"))
    torch.bfloat16
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is unknown; choose from {', '.join(PRECISIONS)}")
    if precision == "auto":
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _has_bf16(device: torch.device) -> bool:
    """Return whether a device multiplies bf16 natively."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check is not None)


@contextmanager
def model_threads(count: int | None) -> Iterator[None]:
    """Compute with this many threads inside the `with` block; None: as many as before.

    Raises:
        UsageError: the number is below 1.

    >>> with model_threads(1):
    ...     torch.get_num_threads()
    1
    """
    if count is not None and count < 1:
        raise UsageError(f"the number of threads must be at least 1, not {count}")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count or before)
        yield
    finally:
        torch.set_num_threads(before)


def hash_weights(weights: Mapping[str, Tensor], *, widened: bool = False) -> str:
    """Return a hash of named tensors, the same on every device.

    Args:
        weights: tensors by name.
        widened: hash half precision as the same values in single precision, so that a copy in that has the same hash.

    >>> half = {"a": torch.ones(2, dtype=torch.bfloat16)}
    >>> hash_weights(half, widened=True) == hash_weights({"a": half["a"].float()})
    True
    """
    return hashlib.sha256(b"".join(hash_tensors(weights, widened=widened).values())).hexdigest()


def hash_tensors(weights: Mapping[str, Tensor], *, widened: bool = False) -> dict[str, bytes]:
    """Return a hash of each tensor, in order of name; threads hash them in parallel. See `hash_weights`."""
    named = sorted(weights.items())
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return dict(
            zip((name for name, _ in named), pool.map(partial(_hash_tensor, widened=widened), named), strict=True)
        )


def _hash_tensor(item: tuple[str, Tensor], *, widened: bool) -> bytes:
    """Return a hash of the name, type, shape and bytes of a tensor."""
    name, value = item
    if widened and value.dtype in (torch.bfloat16, torch.float16):
        value = value.float()
    digest = hashlib.sha256(f"{name} {value.dtype} {tuple(value.shape)}".encode())
    flat = value.detach().cpu().contiguous().view(-1)
    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.digest()
