"""Checkpoints of sentence-transformers: recognize one, and load it without running code or pickles.

`modules.json` names the class of each module. The library imports whatever class of its own is named there, and reads
pickles (by PyTorch's restricted unpickler) where a module has no safetensors. Here a list of classes and file names
decides first.
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

from mova.errors import ModelError, NotInstalledError
from mova.models.checkpoint import DAMAGE, quiet_transformers
from mova.models.hub import MODULES, find_checkpoint, read_json
from mova.models.video_llm.frames import KINDS
from mova.models.video_llm.processor import load_processor
from mova.utils.text_files import parse_json, read_text

ALLOWED = {"Transformer", "CLIPModel", "Pooling", "Dense", "Normalize", "LayerNorm", "Dropout", "Router"}
"""Modules that read only configurations and safetensors."""
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
        ModelError: it asks for code or a pickle, lacks weights, is damaged, or makes no single vector of a text.
    """
    if find_spec("sentence_transformers") is None:
        raise NotInstalledError(f"{name}: is a model of sentence-transformers, which is not installed; {INSTALL}")
    _require_safe(folder, name)
    kind = optional_json(folder / SETTINGS).get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise ModelError(f"{name}: is a {kind} of sentence-transformers; an index needs one vector per text and frame")
    from sentence_transformers import SentenceTransformer

    options: Any = {"device": "cpu", "local_files_only": True, "trust_remote_code": False}
    try:
        with _missing_weights() as missing, _frames_without_torchvision(folder):
            model = SentenceTransformer(str(folder), model_kwargs={"use_safetensors": True}, **options)
    except ImportError as error:
        raise ModelError(f"{name}: needs a package that is not installed ({_line(error)})") from error
    except (*DAMAGE, TypeError) as error:
        if "torchvision" in str(error):
            raise ModelError(f"{name}: its processor needs torchvision; pip install torchvision") from error
        raise ModelError(f"{name}: cannot be read ({_line(error)}); download its files again") from error
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
        shutil.copyfile(path, target / name)
    library = optional_json(folder / SETTINGS) | {"prompts": prompts}
    for file, content in ((SETTINGS, library), (OWN_SETTINGS, settings)):
        (target / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def optional_json(file: Path) -> dict[str, Any]:
    """Return the object in a file; an empty one if there is none.

    Raises:
        ModelError: the file is damaged.
    """
    return read_json(file) if file.is_file() else {}


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Return names and paths of a checkpoint's files, and of those of its modules."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in suffixes]
    return [(path.relative_to(folder).as_posix(), path) for path in found if len(path.relative_to(folder).parts) < 3]


def _require_safe(folder: Path, name: str) -> None:
    """Raise unless loading reads only configurations and safetensors."""
    modules = parse_json(read_text(folder / MODULES), f"{name}/{MODULES}")
    if not (isinstance(modules, list) and modules and all(isinstance(module, dict) for module in modules)):
        raise ModelError(f"{name}: its {MODULES} is not a list of modules; download it again")
    for module in modules:
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
    places = {path.parent for pattern in PICKLES for path in folder.rglob(pattern)}
    for place in sorted(place for place in places if place.name not in EXPORTS):
        pickled = [path.name for pattern in PICKLES for path in place.glob(pattern)]
        if pickled and not any(place.glob("*.safetensors")):
            raise ModelError(
                f"{name}: the weights in {place} are a pickle ({pickled[0]}), which is not read; use a checkpoint with "
                "safetensors, or load it with sentence-transformers and save it again"
            )


@contextmanager
def _missing_weights() -> Iterator[list[str]]:
    """Collect what transformers reports as missing while it loads, and keep it silent."""
    logger = logging.getLogger("transformers.modeling_utils")
    missing: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
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


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
