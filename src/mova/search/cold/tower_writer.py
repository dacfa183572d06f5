"""Export the text tower of a model to ONNX into the folder of an index, and check it against the model.

Shape legend: S sentences, L tokens, d width of the model's space.
"""

from __future__ import annotations

import io
import logging
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mova._version import __version__
from mova.models.background_captions import unlikely_sentences
from mova.models.families import export_text
from mova.search.cold.state import model_state, read_signed, write_signed
from mova.search.cold.text_tower import FOLDER, FORMAT, NAME, TextTower, is_settled, refusal
from mova.utils.hashing import content_hash

if TYPE_CHECKING:
    from mova.models.encoder import DualEncoder
    from mova.models.text_export import TextExport
    from mova.search.storage.records import Meta

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest difference of a cosine from 1, between the exported tower and the model, for any of `PROBES`."""
PROBES = (
    "a dog",
    "A red star moves left.",
    "a man pours tea into a cup, then he drinks it",
    "A woman in a BLUE dress walks through the rain; her 2 children follow.",
    "It's 7:30 p.m. & nobody's home?",
    "Zwei Männer tragen ein Sofa über die Straße.",
    "一个男人在厨房里做饭",
    "the camera zooms out to show a city at night",
    "x",
    "The blue square grows while the green circle shrinks and turns. " * 3,
    "word " * 400,
)
"""Texts of different length, case, script and punctuation; the last ones are cut off by most models."""
EXACT_BYTES = 64 << 20
"""Larger tables of embeddings are kept in half precision."""
INLINE_BYTES = 1024
"""Larger weights are kept in a file of their own, which is memory-mapped."""


def write_text_tower(model: DualEncoder, meta: Meta, folder: Path) -> bool:
    """Export the text tower of a model, unless the index has it already. The caller holds the lock of the index.

    Args:
        model: the model that the index was made with.
        meta: of the index.
        folder: the local index.

    Returns:
        Whether the index has a text tower of this model now. It has none if the family of the model cannot be exported,
        if onnx or onnxruntime is missing, or if the exported tower does not agree with the model.

    Raises:
        OSError: a file cannot be written.
        MemoryError, ImportError: it cannot be exported now; it is tried again the next time.
    """
    files = folder / FOLDER
    last = read_signed(files / NAME)
    reason = refusal(files, last, meta)
    if reason is None or is_settled(last, reason) or not can_export():
        return reason is None
    files.mkdir(exist_ok=True)
    (files / NAME).unlink(missing_ok=True)
    try:
        return _export(model, meta, folder)
    finally:
        written = read_signed(files / NAME) or {}
        _remove_others(files, {NAME, *written.get("files", {}).values()})


def can_export() -> bool:
    """Return whether the packages that an export needs are installed."""
    return all(find_spec(package) is not None for package in ("onnx", "onnxruntime", "tokenizers"))


def _export(model: DualEncoder, meta: Meta, folder: Path) -> bool:
    """Export the text tower and compare it with the model; see `write_text_tower`."""
    files = folder / FOLDER
    reason: str | None = None
    try:
        side = export_text(model)
        if side is None:
            reason = f"{meta.model} has no text tower that can be exported"
        else:
            batched = _batched(model, meta, side, folder)
            if batched is not None:
                document = batched
            else:
                document = _document(model, meta, side, files, _write_files(side, files, 1))
                difference = document["difference"] = _difference(model, TextTower(folder, document))
                if not difference <= TOLERANCE:
                    reason = f"its vectors differ by {difference:.1g} from those of {meta.model}"
    except (OSError, MemoryError, ImportError):  # of this moment, not of this model
        raise
    except Exception as error:
        logger.info("%s cannot be exported", meta.model, exc_info=True)
        reason = f"{meta.model} cannot be exported: {type(error).__name__}"
    if reason is not None:
        document = {**_stamp(meta), "unusable": reason}
    write_signed(files / NAME, document)
    return reason is None


def _batched(model: DualEncoder, meta: Meta, side: TextExport, folder: Path) -> dict[str, Any] | None:
    """Export the text tower so that it takes several texts of one length at once; None if this model cannot."""
    try:
        document = _document(model, meta, side, folder / FOLDER, _write_files(side, folder / FOLDER, 2))
        document["batched"] = True
        tower = TextTower(folder, document)
        difference = _difference(model, tower)
        with _without_warnings():
            for probe in PROBES:  # one alone, and three at once
                alone, together = tower.text_vectors([probe]), tower.text_vectors([probe] * 3)
                difference = max(difference, float(np.max(np.abs(1 - together @ alone[0]))))
    except (OSError, MemoryError, ImportError):  # of this moment, not of this model
        raise
    except Exception:
        logger.debug("%s cannot be exported for several texts", meta.model, exc_info=True)
        return None
    document["difference"] = difference
    return document if difference <= TOLERANCE else None


def _write_files(side: TextExport, files: Path, texts: int) -> dict[str, str]:
    """Write model, weights, embeddings and tokenizer; return their names. See `_exported` for `texts`."""
    import onnx

    made = uuid.uuid4().hex[:12]
    names = {
        "model": f"model-{made}.onnx",
        "weights": f"weights-{made}.bin",
        "table": f"table-{made}.npy",
        "tokenizer": f"tokenizer-{made}.json",
    }
    (files / names["tokenizer"]).write_text(side.tokenizer, encoding="utf-8")
    table = side.table.detach().cpu()
    exact = table.numel() * 4 <= EXACT_BYTES
    np.save(files / names["table"], (table.float() if exact else table.to(torch.float16)).numpy())
    graph = onnx.load_from_string(_exported(side, texts))
    weights = files / names["weights"]
    weights.touch()
    onnx.save_model(
        graph,
        str(files / names["model"]),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=weights.name,
        size_threshold=INLINE_BYTES,
    )
    return names


def _exported(side: TextExport, texts: int) -> bytes:
    """Return the model of ONNX of `side.module`, for texts of any length (of the fixed length).

    Args:
        side: of the model.
        texts: 1 for a model that takes one text, 2 for one that takes any number.
    """
    length = side.length if side.fixed else min(8, side.length)
    ids = torch.full((texts, length), side.pad_id, dtype=torch.long)
    ids[:, : length // 2] = torch.arange(length // 2) % len(side.table)
    vectors = side.table[ids].detach().float().cpu()
    names = {**({0: "texts"} if texts > 1 else {}), **({} if side.fixed else {1: "length"})}
    axes = {"ids": names, "vectors": names} if names else {}
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            side.module,
            (ids, vectors),
            buffer,  # type: ignore[arg-type]
            input_names=["ids", "vectors"],
            output_names=["pooled"],
            dynamic_axes=axes,
            dynamo=False,
        )
    return buffer.getvalue()


def _document(model: DualEncoder, meta: Meta, side: TextExport, files: Path, names: dict[str, str]) -> dict[str, Any]:
    paths = {key: files / name for key, name in names.items()}
    return {
        **_stamp(meta),
        "name": model.name,
        "rule": model.rule.to_dict(),
        "unlikely": list(unlikely_sentences(model)),
        "units": model.units.to_dict(),
        "respects": model.respects(),
        "tokens": {
            "length": side.length,
            "fixed": side.fixed,
            "lower": side.lower,
            "pad_id": side.pad_id,
            "pad_left": side.pad_left,
            "empty_id": side.empty_id,
            "unknown_id": side.unknown_id,
        },
        "files": names,
        "sizes": {key: path.stat().st_size for key, path in paths.items()},
        "hashes": {key: content_hash(path) for key, path in paths.items()},
    }


def _stamp(meta: Meta) -> dict[str, Any]:
    """Return what a text tower was made from."""
    state = model_state(meta.model)
    return {"format": FORMAT, "version": __version__, "fingerprint": meta.fingerprint, "model_state": state}


def _difference(model: DualEncoder, tower: TextTower) -> float:
    """Return how much the cosine of the tower's vectors with the model's differs from 1, at most, over `PROBES`."""
    with _without_warnings():
        expected, result = model.encode_sentences(PROBES).unit_vectors(), tower.text_vectors(PROBES)
    return float(np.max(np.abs(1 - np.sum(expected.astype(np.float64) * result, axis=1))))


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Log no warnings inside the block: they are about `PROBES`, not about texts of the user."""
    quiet = logging.getLogger("mova")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        yield
    finally:
        quiet.setLevel(level)


def _remove_others(files: Path, kept: set[str]) -> None:
    """Remove the files of earlier exports and failed attempts."""
    with suppress(OSError):
        for path in files.iterdir():
            if path.name not in kept:
                path.unlink()
