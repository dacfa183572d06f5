"""Tiny models of sentence-transformers with pictures or videos as input: real architectures, random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tests.support.tiny_models import BUILDERS
from tests.support.tiny_videollms import build

PROMPTS = {"prompts": {"query": "find: ", "document": ""}}


def build_clip(clip: Path, folder: Path) -> Path:
    """A CLIP checkpoint, and behind it a map to 24 dimensions and a normalization."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        dense = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
        modules = [Transformer(str(clip)), Dense(24, 24, **dense), Normalize()]
        SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder


def build_own_clip(folder: Path) -> Path:
    """`build_clip` with a CLIP checkpoint of its own."""
    return build_clip(BUILDERS["clip"](folder.with_name(f"{folder.name}-clip")), folder)


def build_language_model(kind: str, folder: Path) -> Path:
    """A vision-language model with the files that the library writes for one: the last token's state, normalized."""
    build(kind, folder)
    library = "sentence_transformers.models"
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": f"{library}.{name}"} for i, (name, path) in enumerate(modules)
    ]
    state = {"method": "forward", "method_output_name": "last_hidden_state"}
    reading = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": state, "image": state, "video": state, "message": state | {"format": "structured"}},
        "module_output_name": "token_embeddings",
        "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
    }
    settings = {"word_embedding_dimension": 32, "pooling_mode_lasttoken": True}
    (folder / "sentence_bert_config.json").write_text(json.dumps(reading), encoding="utf-8")
    (folder / "modules.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "2_Normalize").mkdir()
    return folder


def set_prompt(folder: Path) -> None:
    """Give texts of queries a prompt."""
    file = folder / "config_sentence_transformers.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | PROMPTS), encoding="utf-8")
