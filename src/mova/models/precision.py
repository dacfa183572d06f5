"""Where a model runs, in which number format, and the hash of what it holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from mova.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16")


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or a GPU if there is one and none is asked for.

    Raises:
        UsageError: a device that torch does not know or this machine does not have.
    """
    available = torch.cuda.is_available()
    if device is None:
        return torch.device("cuda" if available else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"device {device!r} is not known; say cpu or cuda") from error
    if chosen.type == "cuda" and not available:
        raise UsageError(f"device {device!r}: torch finds no such GPU on this machine; say cpu")
    return chosen


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type of the weights for a precision on a device.

    "auto" is bf16 on GPUs that have it and on CPUs with AVX512-BF16 or AMX, else fp32. bf16 weights are ahead
    of bf16
    autocast for inference: nothing is cast back and forth, and half the memory is read.

    Raises:
        UsageError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is not known; there are {', '.join(PRECISIONS)}")
    if precision == "auto":
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 natively."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check is not None)


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """Hash of named tensors, the same on every device."""
    return hashlib.sha256(b"".join(hash_tensors(weights).values())).hexdigest()


def hash_tensors(weights: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Hash of each tensor, in order of name; they are hashed side by side in threads."""
    named = sorted(weights.items())
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return dict(zip((name for name, _ in named), pool.map(_hash_tensor, named), strict=True))


def _hash_tensor(item: tuple[str, Tensor]) -> bytes:
    """Hash of one tensor's name, type, shape and bytes."""
    name, value = item
    digest = hashlib.sha256(f"{name} {value.dtype} {tuple(value.shape)}".encode())
    flat = value.detach().cpu().contiguous().view(-1)
    digest.update(flat.view(torch.uint8).numpy().data)
    return digest.digest()
