"""Where a checkpoint lies: a folder, the hub's cache on this machine, or the hub itself."""

from __future__ import annotations

import json
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

from mova.errors import ModelError

logger = logging.getLogger(__name__)

SAFETENSORS = ("model.safetensors", "model-*.safetensors")
PICKLED = ("pytorch_model.bin", "pytorch_model-*.bin")
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
REACH_SECONDS = 10.0
"""How long the hub may take to answer at all before it counts as out of reach."""
NETWORK_ERRORS: tuple[type[BaseException], ...] = (*HfHubHTTPError.__bases__, LocalEntryNotFoundError)
"""What the hub's client raises when it cannot get through; its HTTP library has changed between releases."""
_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?$")


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The local folder of a checkpoint, downloading it once if need be.

    A folder of that name comes first, then the hub's cache on this machine (no network is touched), then the
    hub.

    Args:
        name_or_path: a folder, or a hub name such as `openai/clip-vit-base-patch32`.

    Returns:
        A folder with `config.json` and weights.

    Raises:
        ModelError: no such folder; not cached and the hub is out of reach; no such name; an incomplete
            folder.
    """
    name = str(name_or_path)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _complete(folder, name)
    if isinstance(name_or_path, Path) or not _HUB_NAME.match(name) or name.startswith("."):
        raise ModelError(f"{name}: there is no such folder, and a hub name looks like owner/model")
    try:
        return _complete(Path(snapshot_download(name, local_files_only=True)), name)
    except HFValidationError as error:
        raise ModelError(f"{name}: there is no such folder, and it cannot be a hub name ({error})") from error
    except (LocalEntryNotFoundError, ModelError):
        return _complete(_download(name), name)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint.

    Raises:
        ModelError: it is absent or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as a checkpoint's JSON ({error}); fetch the file again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds no JSON object; fetch the file again")
    return content


def by_hand(name: str) -> str:
    """How to get a checkpoint onto a machine that cannot download it."""
    return (
        f"To bring it by hand: on a machine with network open https://huggingface.co/{name}/tree/main, "
        "download config.json, preprocessor_config.json, model.safetensors (or pytorch_model.bin) and all "
        "tokenizer files (tokenizer*.json, special_tokens_map.json, vocab.json, merges.txt, *.model, as many "
        "as there are) into one FOLDER, copy it here and use `--model FOLDER` (Python: mova.load('FOLDER')). "
        f"Or copy that machine's whole cache to {constants.HF_HUB_CACHE} (set HF_HOME to keep it elsewhere)"
    )


def _complete(folder: Path, name: str) -> Path:
    """The folder, if it holds a configuration and weights."""
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(fnmatch(path.name, pattern) for path in folder.iterdir() for pattern in SAFETENSORS + PICKLED):
        missing.append("model.safetensors (or pytorch_model.bin)")
    if missing:
        raise ModelError(f"{name}: the folder {folder} lacks {' and '.join(missing)}; put the checkpoint's files there")
    return folder


def _download(name: str) -> Path:
    """Fetch the files that matter from the hub into its cache."""
    try:
        info = HfApi().model_info(name, timeout=REACH_SECONDS, files_metadata=True)
        sizes = {item.rfilename: item.size or 0 for item in info.siblings or []}
        kinds = SAFETENSORS if any(fnmatch(file, p) for file in sizes for p in SAFETENSORS) else PICKLED
        wanted = [f for f in sizes if "/" not in f and any(fnmatch(f, p) for p in kinds + SMALL_FILES)]
        logger.warning("downloading %s: %.2f GB", name, sum(sizes[file] for file in wanted) / 1e9)
        return Path(snapshot_download(name, revision=info.sha, allow_patterns=wanted))
    except GatedRepoError as error:
        raise ModelError(
            f"{name}: its owner asks for consent; accept on https://huggingface.co/{name}, then run `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{name}: neither a folder here nor a model on the hub; check the spelling (`mova models` lists some)"
        ) from error
    except OfflineModeIsEnabled as error:
        raise ModelError(
            f"{name}: not a folder here, not in the cache of this machine, and HF_HUB_OFFLINE forbids asking "
            f"the hub; unset it. {by_hand(name)}"
        ) from error
    except NETWORK_ERRORS as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{name}: not a folder here, not in the cache of this machine, and the hub cannot be reached "
            f"({cause}). {by_hand(name)}"
        ) from error
