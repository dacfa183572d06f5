"""CLIP's tokenizer, from a checkpoint in the Hub's layout or from the vocabulary file of its first release."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from mova.errors import ModelError, refuse_code
from mova.models.checkpoint import DAMAGE, quiet_transformers

POSITIONS = 77
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
LARGEST = 64 << 20
"""Bytes of an unpacked vocabulary, at most; OpenAI's has 3 MB."""


def read_tokenizer(source: str | Path, rows: int) -> Any:
    """Return CLIP's tokenizer.

    Args:
        source: folder or Hub name of a checkpoint, or a vocabulary file such as `bpe_simple_vocab_16e6.txt.gz`: a line
            about the file, then one merge per line, of which the first ones are used.
        rows: rows of the model's table of tokens.

    Raises:
        ModelError: it cannot be read, or has another number of tokens.
    """
    path = Path(source).expanduser()
    tokenizer = _from_merges(path, rows) if path.is_file() else _from_checkpoint(source)
    if len(tokenizer) != rows:
        raise ModelError(f"{source}: has {len(tokenizer):,} tokens, but the weights are for {rows:,}")
    return tokenizer


def _from_checkpoint(source: str | Path) -> Any:
    cause: Exception | None = None
    try:
        with quiet_transformers(), refuse_code(source):
            tokenizer = CLIPTokenizer.from_pretrained(source, trust_remote_code=False)
        if len(tokenizer) > len(SPECIAL):  # a folder without files of a tokenizer gives an empty one
            return tokenizer
    except DAMAGE as error:
        cause = error
    raise ModelError(
        f"{source}: no tokenizer of CLIP; name a folder or Hub name that has one, or the file "
        "bpe_simple_vocab_16e6.txt.gz of CLIP's repository"
    ) from cause


def _from_merges(path: Path, rows: int) -> CLIPTokenizer:
    """Build the tokenizer as CLIP's first code did: bytes, bytes that end a word, merges, two special tokens."""
    try:
        with gzip.open(path) as file:
            lines = file.read(LARGEST).decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: is not a gzip file of merges, one per line ({error})") from error
    letters = _byte_letters()
    count = rows - 2 * len(letters) - len(SPECIAL)
    merges = [tuple(line.split()) for line in lines[1 : 1 + count]]
    if len(merges) < count or any(len(pair) != 2 for pair in merges):
        raise ModelError(f"{path}: {count:,} merges are needed, one per line after the first; it has fewer")
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), *SPECIAL]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=POSITIONS)


def _byte_letters() -> list[str]:
    """Return the letter of every byte, in the order of CLIP's vocabulary: printable bytes first, then the others."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [*map(chr, printable), *(chr(256 + number) for number in range(others))]
