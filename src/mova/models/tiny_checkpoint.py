"""Write tiny checkpoints in the Hub's layout: real architectures and tokenizers, random weights.

They allow a trial of a whole run without any download. Their scores mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, PreTrainedModel, XCLIPConfig, XCLIPModel

POSITIONS = 77
"""Text positions, as CLIP has them."""
SIZE = 32
"""Side of the image tower's input in pixels."""
WIDTH = 24
"""Shared width."""
WINDOW = 4
"""Frames per window of X-CLIP."""
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
VOCABULARY = 930
"""Maximum number of tokens without the special ones: 512 for the bytes, the rest for merges."""


def write_tiny_clip(folder: str | Path, corpus: Iterable[str], seed: int = 0) -> Path:
    """Write the checkpoint, about 60 thousand weights.

    Args:
        folder: created if missing.
        corpus: texts from which the vocabulary is trained.
        seed: seed of the weights.
    """
    tokenizer = byte_level_tokenizer(corpus)
    vision = TOWER | {"image_size": SIZE, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(CLIPConfig(text_config=_text(tokenizer), vision_config=vision, projection_dim=WIDTH))
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    image = {"image_processor_type": "CLIPImageProcessor", "resample": 3, "image_mean": mean, "image_std": std}
    return _write(Path(folder), model, tokenizer, image)


def write_tiny_x_clip(folder: str | Path, corpus: Iterable[str], seed: int = 0) -> Path:
    """Write a checkpoint of X-CLIP, about 90 thousand weights; its windows have `WINDOW` frames.

    Args:
        folder, corpus, seed: see `write_tiny_clip`.
    """
    tokenizer = byte_level_tokenizer(corpus)
    vision = TOWER | {"image_size": SIZE, "patch_size": 8, "num_frames": WINDOW, "mit_hidden_size": WIDTH}
    vision |= {"mit_intermediate_size": 48, "mit_num_attention_heads": 2}
    config = XCLIPConfig(
        text_config=_text(tokenizer), vision_config=vision, projection_dim=WIDTH, prompt_num_attention_heads=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = XCLIPModel(config)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    image = {"image_processor_type": "VideoMAEImageProcessor", "resample": 2, "image_mean": mean, "image_std": std}
    return _write(Path(folder), model, tokenizer, image)


def _text(tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """Return the configuration of a text tower."""
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS, **ids}


def _write(folder: Path, model: PreTrainedModel, tokenizer: CLIPTokenizer, image: dict[str, Any]) -> Path:
    """Write a checkpoint in the Hub's layout; frames are resized and cropped to `SIZE`."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shape = {"do_resize": True, "size": {"shortest_edge": SIZE}, "do_center_crop": True, "do_normalize": True}
    settings = {**image, **shape, "crop_size": {"height": SIZE, "width": SIZE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return folder


def byte_level_tokenizer(corpus: Iterable[str]) -> CLIPTokenizer:
    """Train a byte-level BPE like CLIP's: every byte with and without an end-of-word suffix, special tokens last.

    Equal corpora give equal tokenizers.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [f"{letter}</w>" for letter in letters]
    bpe = Tokenizer(BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=ends,  # the trainer breaks ties by id, and numbers only these and the alphabet in a fixed order
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    pieces = dict.fromkeys([*letters, *ends, *("".join(pair) for pair in merges)])
    vocab = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=POSITIONS)
