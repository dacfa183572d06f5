"""Find a checkpoint: a folder, the Hub's cache on this machine, or the Hub itself."""

from __future__ import annotations

import logging
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from mova.errors import DataError, ModelError
from mova.utils.text_files import parse_json, read_text

logger = logging.getLogger(__name__)

SAFETENSORS = ("model.safetensors", "model-*.safetensors")
PICKLED = ("pytorch_model.bin", "pytorch_model-*.bin")
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
MODULES = "modules.json"
"""Names the modules of a model of sentence-transformers; their folders may hold its configuration and weights."""
MODULE_FILES = "[0-9]*_*/*"
"""Files of those modules."""
KEPT = "backbone"
"""Folder with all files of a checkpoint, inside that of a model around it."""
REACH_SECONDS = 10.0
"""Timeout of the first request; after it the Hub counts as unreachable."""
NETWORK_ERRORS: tuple[type[BaseException], ...] = (*HfHubHTTPError.__bases__, LocalEntryNotFoundError)
"""Errors of the Hub's client when it cannot connect; its HTTP library has changed between releases."""
_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?$")


def find_checkpoint(name_or_path: str | Path) -> Path:
    """Return the local folder of a checkpoint, downloading it once if needed.

    A folder of that name comes first, then the Hub's cache on this machine (without network access), then the Hub.

    Args:
        name_or_path: a folder, or a name on the Hub such as `openai/clip-vit-base-patch32`.

    Returns:
        A folder with `config.json` and weights.

    Raises:
        ModelError: no such folder; not cached and the Hub is unreachable; no such name; an incomplete folder.
    """
    name = str(name_or_path)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _complete(folder, name)
    if isinstance(name_or_path, Path) or not _HUB_NAME.match(name) or name.startswith("."):
        raise ModelError(f"{name}: no such folder, and a name on the Hub looks like owner/model")
    try:
        return _cached(name)
    except HFValidationError as error:
        raise ModelError(f"{name}: no such folder, and not a valid name on the Hub ({error})") from error
    except (LocalEntryNotFoundError, ModelError):
        return _complete(_download(name), name)


def is_cached(name: str) -> bool:
    """Return whether a complete checkpoint of the Hub is in the cache of this machine; no network is used."""
    try:
        _cached(name)
    except (LocalEntryNotFoundError, HFValidationError, ModelError):
        return False
    return True


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file of a checkpoint.

    Raises:
        ModelError: the file is missing or damaged.
    """
    content = _parsed(path)
    if not isinstance(content, dict):
        raise ModelError(f"{path}: does not contain a JSON object; download the file again")
    return content


def model_type_of(folder: Path) -> str | None:
    """Return the `model_type` of a checkpoint; None if its configuration is that of its first module.

    Raises:
        ModelError: `config.json` is missing or damaged.
    """
    if (folder / MODULES).is_file() and not (folder / "config.json").is_file():
        return None
    return read_json(folder / "config.json").get("model_type")


def read_modules(folder: Path) -> list[dict[str, Any]]:
    """Read `modules.json` of a folder: the modules of a model of sentence-transformers, with `type` and `path`.

    Raises:
        ModelError: the file is missing or damaged.
    """
    modules = _parsed(folder / MODULES)
    if not (isinstance(modules, list) and modules and all(isinstance(module, dict) for module in modules)):
        raise ModelError(f"{folder / MODULES}: is not a list of modules; download the file again")
    return modules


def has_own_modules(folder: Path) -> bool:
    """Return whether a folder has a `modules.json` that adds more to the transformers model beside it than its norm.

    A dual encoder followed by a normalization is the same model as without, since vectors are compared by their
    cosines. A prompt counts as an addition.

    Raises:
        ModelError: a file is damaged.
    """
    if not (folder / MODULES).is_file():
        return False
    first, *others = read_modules(folder)
    settings = folder / "config_sentence_transformers.json"
    prompts = read_json(settings).get("prompts") if settings.is_file() else None
    kinds = {str(module.get("type")).rpartition(".")[2] for module in others}
    has_prompts = any(prompts.values()) if isinstance(prompts, dict) else bool(prompts)
    return has_prompts or first.get("path") != "" or not kinds <= {"Normalize"}


def _parsed(path: Path) -> Any:
    """Parse a JSON file of a checkpoint."""
    try:
        return parse_json(read_text(path), str(path))
    except DataError as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}); download the file again") from error


class UnreachableError(ModelError):
    """A checkpoint is not on this machine and cannot be downloaded.

    Args:
        name: of the checkpoint.
        cause: why it cannot be downloaded.
        instead: a sentence about what works all the same.

    >>> str(UnreachableError("someone/model", "the Hub cannot be reached (timeout)")).split(". ")[0]
    'someone/model: neither a local folder nor in the cache of this machine, and the Hub cannot be reached (timeout)'
    """

    def __init__(self, name: str, cause: str, instead: str = "") -> None:
        self.name, self.cause = name, cause
        reason = f"{name}: neither a local folder nor in the cache of this machine, and {cause}."
        super().__init__(" ".join(filter(None, (reason, instead, by_hand(name)))))


def by_hand(name: str) -> str:
    """Return instructions for copying a checkpoint to a machine that cannot download it."""
    return (
        f"To copy it by hand: on a machine with network access open https://huggingface.co/{name}/tree/main, "
        "download config.json, preprocessor_config.json, model.safetensors (or pytorch_model.bin) and all "
        "tokenizer files that exist (tokenizer*.json, special_tokens_map.json, vocab.json, merges.txt, *.model) "
        "into one FOLDER, copy it here and use `--model FOLDER` (Python: mova.load('FOLDER')). "
        f"Or copy that machine's whole cache to {constants.HF_HUB_CACHE} (set HF_HOME to keep it elsewhere)"
    )


def _cached(name: str) -> Path:
    """Return the folder of a checkpoint in the cache of this machine, with all files that `_download` would take."""
    wanted = [*SMALL_FILES, *SAFETENSORS]
    folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=wanted, ignore_patterns=["*/*"]))
    if (folder / MODULES).is_file():
        inside = [f"{MODULE_FILES.removesuffix('*')}{pattern}" for pattern in wanted]
        snapshot_download(name, local_files_only=True, allow_patterns=inside, ignore_patterns=["*/*/*"])
    return _complete(folder, name)


def _complete(folder: Path, name: str) -> Path:
    """Return the folder, or raise if it lacks a configuration or weights."""
    if (folder / MODULES).is_file() and any(folder.glob(MODULE_FILES)):
        return folder
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(fnmatch(path.name, pattern) for path in folder.iterdir() for pattern in SAFETENSORS + PICKLED):
        missing.append("model.safetensors (or pytorch_model.bin)")
    if missing:
        raise ModelError(f"{name}: the folder {folder} lacks {' and '.join(missing)}; put the checkpoint's files there")
    return folder


def _is_needed(file: str, patterns: tuple[str, ...], *, inside: bool) -> bool:
    """Return whether the name of a file fits a pattern, and it is at the top of a repository, or `inside` a module.

    >>> [_is_needed(file, SMALL_FILES, inside=True) for file in ("config.json", "1_Pooling/config.json", "onnx/a.json")]
    [True, True, False]
    >>> _is_needed("backbone/1_Pooling/config.json", SMALL_FILES, inside=False)
    True
    """
    if file.startswith(f"{KEPT}/"):
        return _is_needed(file.removeprefix(f"{KEPT}/"), patterns, inside=True)
    if "/" in file and not (inside and fnmatch(file, MODULE_FILES) and file.count("/") == 1):
        return False
    return any(fnmatch(Path(file).name, pattern) for pattern in patterns)


def _download(name: str) -> Path:
    """Download configuration, weights and tokenizer from the Hub into its cache."""
    try:
        info = HfApi().model_info(name, timeout=REACH_SECONDS, files_metadata=True)
        sizes = {item.rfilename: item.size or 0 for item in info.siblings or []}
        inside = MODULES in sizes
        kinds = SAFETENSORS if any(_is_needed(file, SAFETENSORS, inside=inside) for file in sizes) else PICKLED
        needed = [file for file in sizes if _is_needed(file, kinds + SMALL_FILES, inside=inside)]
        logger.warning("downloading %s: %.2f GB", name, sum(sizes[file] for file in needed) / 1e9)
        return Path(snapshot_download(name, allow_patterns=needed))  # "main", so that the cache is found by name
    except GatedRepoError as error:
        raise ModelError(
            f"{name}: access is gated; accept the terms on https://huggingface.co/{name}, then run `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{name}: neither a local folder nor a model on the Hub; check the spelling (`mova models` lists some)"
        ) from error
    except OfflineModeIsEnabled as error:
        raise UnreachableError(name, "HF_HUB_OFFLINE forbids downloads; unset it") from error
    except NETWORK_ERRORS as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnreachableError(name, f"the Hub cannot be reached ({cause})") from error
