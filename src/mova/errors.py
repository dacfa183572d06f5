"""Errors meant for people: what went wrong, where, and what to do about it.

Every error that a user can cause derives from `MovaError`. Its text is one complete message, and the command line
prints it without a traceback. Bugs in mova (broken invariants) raise an ordinary `AssertionError`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from threading import Lock
from typing import Any


class MovaError(Exception):
    """Base class of all errors whose text is meant for a person. `exit_code` is the exit code of the command line.

    Example:
        >>> import mova
        >>> try:
        ...     mova.load("mova-worlds-tiny").align("missing.mp4", "A dog runs.")
        ... except MovaError as error:
        ...     print(f"{type(error).__name__} (exit code {error.exit_code}): {error}")
        VideoError (exit code 1): missing.mp4: ...
    """

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle text and attributes, not the arguments of the class: processes send errors to each other."""
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(kind: type[MovaError], args: tuple[Any, ...]) -> MovaError:
    """Return an error with its `args`, without the constructor of its class."""
    error = kind.__new__(kind, *args)
    if isinstance(error, ImportError):
        ImportError.__init__(error, *args)
    return error


class UsageError(MovaError, ValueError):
    """The request itself is wrong (an unknown name, a negative duration, ...).

    Example:
        >>> import mova
        >>> mova.load("mova-worlds-tiny").sampling_rate(-1.0)
        Traceback (most recent call last):
            ...
        mova.errors.UsageError: frames per second must be above 0, not -1.0
    """

    exit_code = 2


class VideoError(MovaError):
    """A file cannot be read as video. The path and the cause are attributes.

    Example:
        >>> print(VideoError("a.mp4", "the file is empty (0 bytes); copy or download it again"))
        a.mp4: the file is empty (0 bytes); copy or download it again
    """

    def __init__(self, path: str | Path, cause: str) -> None:
        super().__init__(f"{path}: {cause}")
        self.path = str(path)
        self.cause = cause


class NoVideoError(VideoError):
    """A file can be opened but has no video stream (only sound, for example).

    Example:
        >>> isinstance(NoVideoError("song.mp3", "has no video stream"), VideoError)
        True
    """


class ModelError(MovaError):
    """A model cannot be found, loaded or used as asked.

    Example:
        >>> import mova
        >>> mova.load("films")
        Traceback (most recent call last):
            ...
        mova.errors.ModelError: films: the folder films lacks config.json and model.safetensors (or ...
    """


class IndexMismatchError(MovaError):
    """An index or a feature store was built with another model, preprocessing or sampling than requested.

    Example:
        >>> from mova.data.feature_store import FeatureKey, require_equal
        >>> stored, expected = (FeatureKey("clip", "a1", "b2", dim=8, fps=fps) for fps in (2.0, 1.0))
        >>> require_equal(Path("store"), stored, expected)
        Traceback (most recent call last):
            ...
        mova.errors.IndexMismatchError: store: its features are not those of this run. The sampling is ...
    """


class DataError(MovaError):
    """A manifest, an annotation file or a training set has missing or invalid content.

    Example:
        >>> from mova.data.manifest import read_manifest
        >>> read_manifest("missing.jsonl")
        Traceback (most recent call last):
            ...
        mova.errors.DataError: missing.jsonl: no such file; create a manifest with `mova data convert`
    """


class NotInstalledError(MovaError, ImportError):
    """A package is missing that the small installation lacks. Its text says what to install.

    Example:
        >>> with needs_packages():
        ...     raise ModuleNotFoundError("No module named 'torch'", name="torch")
        Traceback (most recent call last):
            ...
        mova.errors.NotInstalledError: this needs PyTorch, which is not installed; pip install 'mova[models]'
    """


PACKAGES_OF_MODELS = {
    "torch": "PyTorch",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "sentencepiece": "sentencepiece",
    "lancedb": "LanceDB",
    "onnx": "ONNX",
    "sklearn": "scikit-learn",
    "matplotlib": "Matplotlib",
}
"""Module -> package that `pip install mova` leaves out, and `mova[models]` has."""


def not_installed(error: ImportError) -> NotInstalledError | None:
    """Return the error for people if a package of `mova[models]` is missing; None for any other module.

    Example:
        >>> print(not_installed(ModuleNotFoundError("No module named 'torch'", name="torch")))
        this needs PyTorch, which is not installed; pip install 'mova[models]'
    """
    package = PACKAGES_OF_MODELS.get((error.name or "").partition(".")[0])
    if package is None or not isinstance(error, ModuleNotFoundError):
        return None
    return NotInstalledError(f"this needs {package}, which is not installed; pip install 'mova[models]'")


@contextmanager
def needs_packages() -> Iterator[None]:
    """Turn the error for a missing package of `mova[models]` into `NotInstalledError` inside the `with` block.

    Example:
        >>> try:
        ...     with needs_packages():
        ...         raise ModuleNotFoundError("No module named 'torch'", name="torch")
        ... except NotInstalledError as error:
        ...     print(error)
        this needs PyTorch, which is not installed; pip install 'mova[models]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        explained = not_installed(error)
        if explained is None:
            raise
        raise explained from error


@contextmanager
def refuse_code(name: object) -> Iterator[None]:
    """Refuse to run what a checkpoint brings, inside the `with` block: a pickle, or modules that `auto_map` names.

    Pass `trust_remote_code=False` to every loader as well. Parts that a library loads by itself do not get that flag;
    this keeps transformers from asking at the terminal whether their code may run.

    Args:
        name: the checkpoint's name in errors.

    Raises:
        ModelError: the checkpoint asks for code.

    Example:
        >>> with refuse_code("my-model"):
        ...     raise ValueError("pass the argument `trust_remote_code=True`")
        Traceback (most recent call last):
            ...
        mova.errors.ModelError: my-model: needs Python code of its own (auto_map in its configuration), which ...
    """
    with _no_questions():
        try:
            yield
        except UnpicklingError as error:
            raise refused_pickle(name) from error
        except ValueError as error:
            if "trust_remote_code" not in str(error):
                raise
            raise ModelError(
                f"{name}: needs Python code of its own (auto_map in its configuration), which is never run; use a "
                "checkpoint whose architecture is part of the library that loads it"
            ) from error


_QUESTIONS = Lock()
_refusing: list[int] = []


@contextmanager
def _no_questions() -> Iterator[None]:
    """Let transformers raise where it would ask whether code may run. Blocks may overlap in several threads."""
    from transformers import dynamic_module_utils as loader

    with _QUESTIONS:
        _refusing.append(loader.TIME_OUT_REMOTE_CODE)
        loader.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        with _QUESTIONS:
            seconds = _refusing.pop()
            if not _refusing:
                loader.TIME_OUT_REMOTE_CODE = seconds


def refused_pickle(name: object) -> ModelError:
    """Return the error of a model whose weights are a pickle that holds more than weights; PyTorch does not run it."""
    return ModelError(
        f"{name}: its weights are a pickle (pytorch_model.bin) that is damaged or asks to run code, which was not run; "
        "use a checkpoint with model.safetensors, from a source that you trust"
    )


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=\S)")
_OBJECT = re.compile(r"(s3|gs|gcs|az|abfss?|memory)://(?=[^/])", re.IGNORECASE)


def object_uri(path: str | os.PathLike[str]) -> str | None:
    """Return the URI of an object in object storage, None for any other path; see `mova.remote.objects`.

    A `Path` is never one, so that no path of a manifest, which is joined to its folder, becomes one.

    Example:
        >>> object_uri("gs://bucket/a.mp4"), object_uri("https://example.org/a.mp4"), object_uri(Path("gs://bucket/a.mp4"))
        ('gs://bucket/a.mp4', None, None)
    """
    if not isinstance(path, str):
        return None
    found = _OBJECT.match(path)
    return f"{found[1].lower()}://{path[found.end() :]}" if found is not None else None


def refuse_url(path: str | os.PathLike[str]) -> None:
    """Raise if a path is the address of something on a network.

    Raises:
        UsageError: it is.

    Example:
        >>> refuse_url("https://example.org/film.mp4")
        Traceback (most recent call last):
        mova.errors.UsageError: https://example.org/film.mp4: is a URL; mova reads files and object storage ...
    """
    name = os.fspath(path)
    if _URL.match(name) and not os.path.lexists(name):
        address = _URL.sub(r"\1://", name, count=1)
        if object_uri(address) is not None:
            raise UsageError(
                f"{address}: is in object storage, which is not read here (`mova index` does); download the file, and "
                "pass its path"
            )
        raise UsageError(
            f"{address}: is a URL; mova reads files and object storage (s3://, gs://, az://), so download it, and pass "
            "its path"
        )
