"""The text tower of an index's model, exported to ONNX: sentences become vectors without torch and transformers.

The folder `text_tower` of a local index holds `tower.json` with settings, `model-ID.onnx` with its weights
`weights-ID.bin` (memory-mapped), the embeddings of the tokens `table-ID.npy` (memory-mapped; a text needs few of them),
and the tokenizer `tokenizer-ID.json`. It is used only if it was made by this version of mova from the model that the
index was made with.

Shape legend: S sentences, L tokens, T frames, K units, D width of token embeddings, d width of the model's space.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mova._version import __version__
from mova.search.cold.evidence import Rule, caption_scores
from mova.search.cold.state import files_changed, model_state, read_signed
from mova.search.storage.records import Meta
from mova.text.parts import split_to_fit
from mova.text.units import UnitRule
from mova.utils.hashing import content_hash

logger = logging.getLogger(__name__)

FOLDER, NAME = "text_tower", "tower.json"
FORMAT = 1
FEW_SENTENCES = 4
"""Up to this number of sentences, weights are used as they are in the file; for more, they are rearranged for speed."""

BATCH = 32
"""Texts that are encoded at once, at most."""

_F32 = npt.NDArray[np.float32]


class UnitVectors(NamedTuple):
    """Vectors of texts (S, d), with the part of `TextEmbedding`'s interface that a search needs."""

    vectors: _F32

    def unit_vectors(self) -> _F32:
        """Return the vectors."""
        return self.vectors


class TextTower:
    """Encodes texts like the model that it was exported from.

    Attributes:
        name: name of the model.
        rule: parameters of its evidence rule.
        units: rule that splits a caption into units.
        unlikely: sentences whose best scores are false alarms.
        known: vectors of some sentences, which need not be encoded again; set by the caller.
    """

    scores_modular = False
    modular_scores: tuple[str, ...] = ()

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self.folder = folder / FOLDER
        self.document = document
        self.name: str = document["name"]
        self.rule = Rule(**document["rule"])
        self.units = UnitRule.from_dict(document["units"])
        self.unlikely: tuple[str, ...] = tuple(document["unlikely"])
        self.known: Mapping[str, _F32] = {}
        self._session: Any = None
        self._arranged = False

    @classmethod
    def open(cls, folder: Path, meta: Meta) -> TextTower | None:
        """Return the text tower of an index; None if it has none that can be used.

        The reason is logged, unless it was known when the tower was made.

        Args:
            folder: a local index.
            meta: the model that it was made with.
        """
        if not (folder / FOLDER / NAME).exists():
            return None
        document = read_signed(folder / FOLDER / NAME)
        problem = refusal(folder / FOLDER, document, meta)
        if problem is None and document is not None:
            try:
                tower = cls(folder, {**document, "name": meta.model})
                tower.open_files()
            except Exception as error:  # noqa: BLE001  of three libraries, for damage of any kind
                logger.warning(
                    "%s: the exported text tower cannot be opened (%s: %s); the model is loaded instead; delete %s to "
                    "have it made again",
                    folder,
                    type(error).__name__,
                    error,
                    folder / FOLDER,
                )
                return None
            return tower
        if is_settled(document, problem):
            return None
        logger.info("%s: the exported text tower is not used (%s); the model is loaded instead", folder, problem)
        return None

    def open_files(self) -> None:
        """Open every file, so that damage shows before a text is encoded. A tower for few sentences is the quickest."""
        _ = self._table, self._tokenizer, self._opened(1)

    def encode_sentences(self, sentences: Sequence[str]) -> UnitVectors:
        """Encode sentences of any length; see `text_vectors`."""
        if sentences and all(sentence in self.known for sentence in sentences):
            return UnitVectors(np.stack([self.known[sentence] for sentence in sentences]))
        return UnitVectors(self.text_vectors(sentences))

    def arrange(self, sentences: int) -> None:
        """Prepare for calls with this number of sentences; see `FEW_SENTENCES`."""
        self._opened(sentences)

    def text_vectors(self, sentences: Sequence[str]) -> _F32:
        """Return the unit vectors (S, d) of sentences, in float32.

        The vector of a sentence that is longer than the maximum is the mean over its parts (`mova.text.parts`).
        """
        parts = [self._parts(sentence) for sentence in sentences]
        vectors = self._whole([part for sentence in parts for part in sentence])
        if len(vectors) == len(parts):
            return vectors
        begins = np.cumsum([0, *(len(sentence) for sentence in parts[:-1])])
        return _unit(np.add.reduceat(vectors, begins))

    def _parts(self, sentence: str) -> list[str]:
        settings, tokenizer = self.document["tokens"], self._tokenizer

        def count(part: str) -> int:
            return len(tokenizer.encode(part.lower() if settings["lower"] else part).ids)

        return split_to_fit(sentence, count, settings["length"])

    def _whole(self, sentences: Sequence[str]) -> _F32:
        """Return the unit vectors (S, d) of sentences that are not split. Tokens beyond the maximum are reported."""
        rows = self._token_ids(sentences)
        session = self._opened(len(rows))
        names = {item.name for item in session.get_inputs()}
        vectors: list[_F32] = [np.empty(0, np.float32)] * len(rows)
        for group in self._groups(rows):
            ids = np.array([rows[i] for i in group], dtype=np.int64)
            feed = {"ids": ids, "vectors": np.asarray(self._table[ids], dtype=np.float32)}
            for i, vector in zip(group, session.run(None, {name: feed[name] for name in names})[0], strict=True):
                vectors[i] = vector
        return _unit(np.stack(vectors).astype(np.float32, copy=False))

    def _groups(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Return indices of texts that are encoded together: of one length, since there is no padding."""
        if not self.document.get("batched", False):
            return [[i] for i in range(len(rows))]
        by_length: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            by_length.setdefault(len(row), []).append(i)
        return [same[i : i + BATCH] for same in by_length.values() for i in range(0, len(same), BATCH)]

    def score(self, videos: Sequence[npt.NDArray[np.floating[Any]]], text: str) -> _F32:
        """Return the score of a whole text for each video (T, d) by the model's evidence rule."""
        return caption_scores(videos, self.text_vectors(self.units.split(text)), self.rule)

    @cached_property
    def _table(self) -> npt.NDArray[np.floating[Any]]:
        return np.load(self.folder / self.document["files"]["table"], mmap_mode="r")

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / self.document["files"]["tokenizer"]))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def _opened(self, sentences: int) -> Any:
        """Return the session of ONNX Runtime, arranged for the number of sentences."""
        import onnxruntime

        arranged = sentences > FEW_SENTENCES
        if self._session is None or (arranged and not self._arranged):
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            if not arranged:
                options.intra_op_num_threads = 1
                options.add_session_config_entry("session.disable_prepacking", "1")
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads take no time
            path = str(self.folder / self.document["files"]["model"])
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            self._arranged = arranged
        return self._session

    def _token_ids(self, sentences: Sequence[str]) -> list[list[int]]:
        """Tokenize, cut and pad; report tokens that were cut off, and unknown words."""
        settings = self.document["tokens"]
        length, tokenizer = settings["length"], self._tokenizer
        rows, dropped, unknown = [], [], 0
        for sentence in sentences:
            text = sentence.lower() if settings["lower"] else sentence
            row = tokenizer.encode(text).ids
            dropped.append(max(0, len(row) - length))
            if dropped[-1]:
                tokenizer.enable_truncation(length)
                row = tokenizer.encode(text).ids
                tokenizer.no_truncation()
            if not row and settings["empty_id"] is not None:
                row = [settings["empty_id"]]
            unknown += row.count(settings["unknown_id"])
            if settings["fixed"]:
                padding = [settings["pad_id"]] * (length - len(row))
                row = padding + row if settings["pad_left"] else row + padding
            rows.append(row)
        if unknown:
            logger.warning("%d of %d words are unknown to %s", unknown, sum(map(len, rows)), self.name)
        if any(dropped):
            logger.warning(
                "%d of %d texts are longer than the %d tokens that %s reads: %d tokens were dropped; "
                "split captions into sentences",
                *(sum(map(bool, dropped)), len(rows), length, self.name, sum(dropped)),
            )
        return rows


def _unit(vectors: _F32) -> _F32:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def is_settled(document: dict[str, Any] | None, reason: str | None) -> bool:
    """Return whether the reason against a text tower was known when it was made, so that it is not made again."""
    return document is not None and reason is not None and document.get("unusable") == reason


def refusal(files: Path, document: dict[str, Any] | None, meta: Meta) -> str | None:
    """Return why an exported text tower cannot be used; None if it can."""
    if document is None or document.get("format") != FORMAT:
        return f"{NAME} was changed"
    if document["version"] != __version__:
        return f"it was made by mova {document['version']}, this is {__version__}"
    if document["fingerprint"] != meta.fingerprint:
        return "it was made from another model than the index"
    if files_changed(model_state(meta.model), document["model_state"]):
        return f"the files of {meta.model} have changed"
    if "unusable" in document:
        return str(document["unusable"])
    for name, size in document["sizes"].items():
        path = files / document["files"][name]
        if not path.is_file() or path.stat().st_size != size:
            return f"{path.name} is missing or was changed"
    for package in ("onnxruntime", "tokenizers"):
        if find_spec(package) is None:
            return f"{package} is not installed"
    return None


def damaged_files(folder: Path) -> list[str]:
    """Return which files of a text tower are not as they were written, relative to the index; reads all of them."""
    files = folder / FOLDER
    document = read_signed(files / NAME)
    if document is None:
        return [f"{FOLDER}/{NAME}"] if (files / NAME).exists() else []
    damaged = []
    for name, written in document.get("hashes", {}).items():
        path = files / document["files"][name]
        try:
            sound = content_hash(path) == written
        except OSError:
            sound = False
        if not sound:
            damaged.append(f"{FOLDER}/{path.name}")
    return damaged
