"""Checkpoints of sentence-transformers: recognize one, and load it without running code or pickles.

`modules.json` names the class of each module. The library imports any class of its own that is named there, and reads
pickles (by PyTorch's restricted unpickler) where a module has no safetensors. A module's settings may also hold
arguments of transformers, some of which fetch code. Here lists of classes, arguments and file names decide first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from mova.errors import ModelError, NotInstalledError, refuse_code
from mova.models.checkpoint import DAMAGE, quiet_transformers
from mova.models.hub import MODULES, find_checkpoint, read_json, read_modules
from mova.models.video_llm.frames import KINDS
from mova.models.video_llm.processor import load_processor

ALLOWED = {"Transformer", "CLIPModel", "Pooling", "Dense", "Normalize", "LayerNorm", "Dropout"}
"""Modules that read only configurations and safetensors. (A Router names further classes in a file of its own.)"""
ARGUMENTS = ("model_args", "model_kwargs")
"""Keys of a module's settings whose values are passed to `from_pretrained` of a model."""
HARMLESS = {"add_pooling_layer", "attn_implementation", "dtype", "torch_dtype", "trust_remote_code"}
"""Those values that may be passed; the library itself drops the last."""
LIBRARY = "sentence_transformers."
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
EXPORTS = ("onnx", "openvino")
"""Folders of other engines, which are not read."""
INSTALL = "pip install 'mova[sentence]'"
SETTINGS = "config_sentence_transformers.json"
OWN_SETTINGS = "mova.json"
"""What `mova models set` adds to a folder: width and windows."""
DESCRIBING = (".json", ".jinja", ".txt", ".model")
"""Files of settings and tokenizers: with the weights, all that a vector depends on."""


def is_sentence_transformer(name_or_path: str | Path) -> bool:
    """Return whether a checkpoint has the modules of sentence-transformers, and no other family loads it.

    Raises:
        ModelError: it cannot be found.
    """
    from mova.models.families import foreign_family
    from mova.models.video_llm.lora import is_adapter

    if is_adapter(name_or_path):
        return False
    folder = find_checkpoint(name_or_path)
    return (folder / MODULES).is_file() and foreign_family(folder).foreign_file == MODULES


def load_modules(folder: Path, name: str) -> Any:
    """Load a folder as a `SentenceTransformer` on the CPU, in the precision of its file.

    Raises:
        NotInstalledError: sentence-transformers is not installed.
        ModelError: it asks for code or a pickle, lacks weights, is damaged, or makes no single vector of a text; or a
            package that it needs is missing or too old.
    """
    if find_spec("sentence_transformers") is None:
        raise NotInstalledError(f"{name}: is a model of sentence-transformers, which is not installed; {INSTALL}")
    _require_safe(folder, name)
    kind = optional_json(folder / SETTINGS).get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise ModelError(f"{name}: is a {kind} of sentence-transformers; an index needs one vector per text and frame")
    options: Any = {"device": "cpu", "local_files_only": True, "model_kwargs": {"use_safetensors": True}}
    try:
        from sentence_transformers import SentenceTransformer

        with refuse_code(name), _missing_weights() as missing, _frames_without_torchvision(folder):
            model = SentenceTransformer(str(folder), trust_remote_code=False, **options)
    except (ImportError, *DAMAGE, TypeError) as error:
        raise ModelError(f"{name}: {_reason(error)}") from error
    if missing:
        raise ModelError(f"{name}: weights are missing from its files ({missing[0]}); download them again")
    return model.eval()


def describe(folder: Path) -> str:
    """Return a hash of the configurations and tokenizers in a folder, without its prompts and settings of mova."""
    digest = hashlib.sha256()
    for name, path in _files(folder, DESCRIBING):
        if name not in (OWN_SETTINGS, SETTINGS):
            digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def copy_with(folder: Path, target: Path, settings: dict[str, Any], prompts: dict[str, str]) -> None:
    """Copy a checkpoint, with other settings of mova and other prompts."""
    for name, path in _files(folder, (*DESCRIBING, ".safetensors")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if path.resolve() != (target / name).resolve():  # a model may be saved where it was loaded from
            shutil.copyfile(path, target / name)
    library = optional_json(folder / SETTINGS) | {"prompts": prompts}
    for file, content in ((SETTINGS, library), (OWN_SETTINGS, settings)):
        (target / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def own_settings(folder: Path) -> dict[str, Any]:
    """Return the settings that `mova models set` added to a folder; empty if there are none.

    Raises:
        ModelError: the file is damaged, or a value is not a number.
    """
    settings = optional_json(folder / OWN_SETTINGS)
    for key, value in settings.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ModelError(f"{folder / OWN_SETTINGS}: {key} is {value!r}, not a number; make the folder again")
    return settings


def optional_json(file: Path) -> dict[str, Any]:
    """Return the object in a file; an empty one if there is none.

    Raises:
        ModelError: the file is damaged.
    """
    return read_json(file) if file.is_file() else {}


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Return names and paths of a checkpoint's files, and of those of its modules; not of exports."""
    found = [path for path in sorted([*folder.glob("*"), *folder.glob("*/*")]) if path.suffix in suffixes]
    return [
        (path.relative_to(folder).as_posix(), path)
        for path in found
        if path.is_file() and path.parent.name not in EXPORTS
    ]


def _require_safe(folder: Path, name: str) -> None:
    """Raise unless loading reads only configurations and safetensors."""
    for module in read_modules(folder):
        kind, path = str(module.get("type")), str(module.get("path", ""))
        if not (kind.startswith(LIBRARY) and kind.rpartition(".")[2] in ALLOWED):
            raise ModelError(
                f"{name}: its module {kind} is code of its own, or one that is not known to be safe, and is not run; "
                f"use a checkpoint whose modules are among {', '.join(sorted(ALLOWED))}"
            )
        if not (folder / path).resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{name}: its {MODULES} names a folder outside of it ({path}); use another checkpoint")
    if any(folder.rglob("adapter_config.json")):
        raise ModelError(f"{name}: is an adapter of another model; merge it (`merge_and_unload` of PEFT) and save that")
    _refuse_arguments(folder, name)
    places = {path.parent for pattern in PICKLES for path in folder.rglob(pattern)}
    for place in sorted(place for place in places if place.name not in EXPORTS):
        pickled = [path.name for pattern in PICKLES for path in place.glob(pattern)]
        if pickled and not any(place.glob("*.safetensors")):
            raise ModelError(
                f"{name}: the weights in {place} are a pickle ({pickled[0]}), which is not read; use a checkpoint with "
                "safetensors, or load it with sentence-transformers and save it again"
            )


def _refuse_arguments(folder: Path, name: str) -> None:
    """Raise if a module's settings pass arguments to transformers that may fetch code, such as a kernel of the Hub."""
    for file in sorted(folder.rglob("sentence_*_config.json")):
        settings = read_json(file)
        for key in ARGUMENTS:
            given = settings.get(key) or {}
            refused = sorted(given.keys() - HARMLESS) if isinstance(given, dict) else [key]
            if isinstance(given, dict) and "/" in str(given.get("attn_implementation")):
                refused.append("attn_implementation")
            if refused:
                raise ModelError(
                    f"{name}: {file.name} loads its model with {', '.join(refused)} ({key}), which is not known to be "
                    "safe; take it out of that file, or use another checkpoint"
                )


@contextmanager
def _missing_weights() -> Iterator[list[str]]:
    """Collect what transformers reports as missing while it loads, and keep it silent."""
    logger = logging.getLogger("transformers.modeling_utils")
    missing: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        """Note the names of missing weights, and drop the message."""
        lines = record.getMessage().splitlines()
        missing.extend(line.split("|")[0].strip() for line in lines if "MISSING" in line and "|" in line)
        return False

    with quiet_transformers():
        transformers_logging.set_verbosity_warning()
        logger.addFilter(collect)
        try:
            yield missing
        finally:
            logger.removeFilter(collect)


@contextmanager
def _frames_without_torchvision(folder: Path) -> Iterator[None]:
    """Let the library use the processor of `mova.models.video_llm`, where that of transformers needs torchvision."""
    kind = str(optional_json(folder / "config.json").get("model_type"))
    if kind not in KINDS or find_spec("torchvision") is not None:
        yield
        return
    from sentence_transformers.base.modules import transformer

    class Processors:
        """What the library calls for a processor."""

        @staticmethod
        def from_pretrained(*_: Any, model_max_length: int | None = None, **__: Any) -> Any:
            """Return that of the folder."""
            processor = load_processor(folder, kind)
            if model_max_length is not None:
                processor.tokenizer.model_max_length = model_max_length
            return processor

    before = transformer.AutoProcessor
    transformer.AutoProcessor = Processors
    try:
        yield
    finally:
        transformer.AutoProcessor = before


def _reason(error: BaseException) -> str:
    """Return why a checkpoint was not loaded, and what to do."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if "torchvision" in str(error).lower():
        return "its processor needs torchvision; pip install torchvision"
    if isinstance(error, ImportError):
        return f"needs a package that is missing or too old ({line}); {INSTALL}"
    return f"cannot be read ({line}); download its files again"
