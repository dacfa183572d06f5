"""Recognize checkpoints of Qwen3-VL-Embedding and Qwen3-VL-Reranker."""

from __future__ import annotations

from pathlib import Path

from mova.models.hub import find_checkpoint, model_type_of, read_json

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
    if model_type_of(folder) != KIND or is_reranker(name_or_path):
        return False
    return (folder / "modules.json").is_file() or "embedding" in Path(name_or_path).name.lower()


def is_reranker(name_or_path: str | Path) -> bool:
    """Return whether a checkpoint of Qwen3-VL was trained to judge a query with a document.

    Those have the settings of a CrossEncoder of sentence-transformers, or say so in their name.

    Raises:
        ModelError: it cannot be found.
    """
    from mova.models.video_llm.lora import is_adapter

    if is_adapter(name_or_path):
        return False
    folder = find_checkpoint(name_or_path)
    if model_type_of(folder) != KIND:
        return False
    settings = folder / "config_sentence_transformers.json"
    crossing = settings.is_file() and read_json(settings).get("model_type") == "CrossEncoder"
    return crossing or "reranker" in Path(name_or_path).name.lower()
