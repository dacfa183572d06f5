"""Recognize Qwen3-VL-Embedding checkpoints."""

from __future__ import annotations

from pathlib import Path

from mova.models.hub import find_checkpoint, read_json

KIND = "qwen3_vl"


def is_embedding(name_or_path: str | Path) -> bool:
    """Return whether a checkpoint of Qwen3-VL was trained for embeddings, not for conversation.

    Both have one architecture. Those for embeddings have the modules of sentence-transformers (`modules.json`), or say
    so in their name.

    Raises:
        ModelError: it cannot be found.
    """
    from mova.models.video_llm.lora import is_adapter

    if is_adapter(name_or_path):
        return False
    folder = find_checkpoint(name_or_path)
    if read_json(folder / "config.json").get("model_type") != KIND:
        return False
    return (folder / "modules.json").is_file() or "embedding" in Path(name_or_path).name.lower()
