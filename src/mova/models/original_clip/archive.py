"""Read the weights of a checkpoint file without running code in it: safetensors, pickled weights, TorchScript archives.

OpenAI published CLIP as TorchScript: a zip archive with a pickle of objects of its own classes, and one file for each
tensor's storage. `torch.jit.load` would run code of the archive. Here the pickle is read with the classes that tensors
need, and every other class is an empty container for its attributes.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mova.errors import ModelError, refused_pickle

DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}
"""Names of storage classes in pickles -> types of their elements."""
DEEPEST = 50
"""Modules within modules, at most."""


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], bool]:
    """Return the tensors of a checkpoint file by name, and whether it is a TorchScript archive.

    Raises:
        ModelError: no such file, a damaged one, one that contains code, or one without tensors.

    >>> _ = torch.save({"state_dict": {"visual.proj": torch.zeros(2, 3)}}, "clip.bin")
    >>> read_weights("clip.bin")[0]["visual.proj"].shape
    torch.Size([2, 3])
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    scripted = _is_torchscript(path)
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        elif scripted:
            content = _read_torchscript(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise refused_pickle(path) from error
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: cannot be read as a checkpoint ({_line(error)})") from error
    while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
        inner = [content[key] for key in ("state_dict", "model", "module") if isinstance(content.get(key), Mapping)]
        if not inner:
            raise ModelError(f"{path}: contains no weights")
        content = inner[0]
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: contains a {type(content).__name__}, not weights by name")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}, scripted


def _line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


class _Attributes(dict[str, Any]):
    """Stands for an object of a class of the archive, and holds its attributes."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, Mapping):
            self.update(state)


class _Reader(pickle.Unpickler):
    """Unpickles the objects of a TorchScript archive; no class or function outside a fixed list is used."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name in the pickle stands for.

        Raises:
            pickle.UnpicklingError: anything that is not needed for tensors.
        """
        if module.startswith("__torch__"):
            return _Attributes
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch.jit._pickle":  # lists and dictionaries with types
            return lambda data, *_: data
        raise pickle.UnpicklingError(f"{module}.{name} is not part of tensors")

    def persistent_load(self, pid: Any) -> Tensor:
        """Return the storage that an identifier names, as a flat tensor."""
        _, dtype, key, _, count = pid
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._root}/data/{key}"))
            self._storages[key] = torch.frombuffer(data, dtype=dtype, count=count)
        return self._storages[key]


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset).clone()


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = next(name for name in names if name.endswith("/constants.pkl")).split("/")[0]
        return dict(_tensors(_Reader(archive, root).load(), "", 0))


def _tensors(item: Any, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors below an object, by dotted name."""
    if depth > DEEPEST:
        raise ValueError("its modules are too deep")
    for name, value in item.items() if isinstance(item, _Attributes) else ():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        else:
            yield from _tensors(value, f"{prefix}{name}.", depth + 1)
