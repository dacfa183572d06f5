"""Tiny video LLM checkpoints in the hub's layout: real architectures, processors and templates, random weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    InternVLConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaOnevisionConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen3VLConfig,
    SiglipVisionConfig,
    VideoLlavaConfig,
)

SIZE = 32
"""Pixels a side of what their towers see."""
LLM: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 8,
}
SPECIAL = [
    *("<pad>", "<s>", "</s>", "<image>", "<video>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|image_pad|>", "<|video_pad|>", "<img>", "</img>", "<IMG_CONTEXT>"),
]
CORPUS = ["Yes yes YES No no NO", "user assistant USER ASSISTANT", "Does this video entail the description: "] * 20
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'video' %}VIDEO"
    "{% elif c.type == 'image' %}IMAGE{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IMAGE = {"do_resize": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
FAMILIES = ("video_llava", "llava_next_video", "llava_onevision", "internvl", "qwen2_5_vl", "qwen3_vl")


@cache
def tokenizer_backend() -> str:
    """A byte-level BPE as JSON."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
    bpe.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return bpe.to_str()


def make_tokenizer(**extra: str) -> PreTrainedTokenizerFast:
    """The tokenizer; `extra` names special tokens that a family's processor asks for."""
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer_backend()),
        pad_token="<pad>",
        eos_token="</s>",
        **({"extra_special_tokens": extra} if extra else {}),
    )
    made.padding_side = "left"
    return made


def build(kind: str, folder: Path) -> Path:
    """A checkpoint of a family, chat template and settings as the family's hub checkpoints have them."""
    extra = {
        "internvl": {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        }
    }.get(kind, {})
    tokenizer = make_tokenizer(**extra)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = AutoModelForImageTextToText.from_config(_config(kind, len(tokenizer), ids)).eval()
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                scale = 0.5 if "embed" in name else (3.0 if "lm_head" in name else 0.8) / weight.shape[-1] ** 0.5
                torch.nn.init.normal_(weight, std=scale)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file, content in _settings(kind).items():
        (folder / file).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def _config(kind: str, vocabulary: int, ids: dict[str, int]) -> Any:
    clip = CLIPVisionConfig(**TOWER, projection_dim=32)
    llama = LlamaConfig(**LLM, vocab_size=vocabulary)
    qwen = Qwen2Config(**LLM, vocab_size=vocabulary)
    placed = {"image_token_index": ids["<image>"], "video_token_index": ids["<video>"]}
    pads = {"image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"]}
    pads |= {"vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"]}
    grid = [[SIZE, SIZE], [SIZE, 2 * SIZE], [2 * SIZE, SIZE]]
    if kind == "video_llava":
        return VideoLlavaConfig(
            vision_config=clip, text_config=llama, image_seq_length=16, video_seq_length=136, **placed
        )
    if kind == "llava_next_video":
        return LlavaNextVideoConfig(vision_config=clip, text_config=llama, image_grid_pinpoints=grid, **placed)
    if kind == "llava_onevision":
        vision = SiglipVisionConfig(**TOWER, vision_use_head=False)
        return LlavaOnevisionConfig(
            vision_config=vision, text_config=qwen, image_grid_pinpoints=grid, **placed, vision_feature_layer=-1
        )
    if kind == "internvl":
        vision = TOWER | {"image_size": [SIZE, SIZE], "patch_size": [8, 8]}
        return InternVLConfig(
            vision_config=vision, text_config=qwen, image_token_id=ids["<IMG_CONTEXT>"], image_seq_length=4
        )
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    text = LLM | {"vocab_size": vocabulary, "rope_parameters": rope}
    if kind == "qwen2_5_vl":
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
        vision |= {"patch_size": 8, "window_size": 32, "fullatt_block_indexes": [1], "tokens_per_second": 2}
        return Qwen2_5_VLConfig(vision_config=vision, text_config=text, **pads)
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"patch_size": 8, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    return Qwen3VLConfig(vision_config=vision, text_config=text | {"head_dim": 8}, **pads)


def _settings(kind: str) -> dict[str, Any]:
    """Files beside the weights: processors and chat template."""
    square = {"size": {"height": SIZE, "width": SIZE}}
    crop = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}, "do_center_crop": True}
    grid = {"image_grid_pinpoints": [[SIZE, SIZE], [SIZE, 2 * SIZE], [2 * SIZE, SIZE]]}
    patches = {"patch_size": 8, "merge_size": 2, "temporal_patch_size": 2}
    small = {"size": {"shortest_edge": 256, "longest_edge": 8192}}
    name, image, video, processor, vision = {
        "video_llava": ("VideoLlava", crop | {"image_processor_type": "VideoLlavaImageProcessor"}, crop, {}, "<{}>\n"),
        "llava_next_video": ("LlavaNextVideo", crop | grid, crop, {}, "<{}>\n"),
        "llava_onevision": ("LlavaOnevision", square | grid, square, {"num_image_tokens": 16}, "<{}>\n"),
        "internvl": ("InternVL", square | {"image_processor_type": "GotOcr2ImageProcessor"}, square, {}, "<{}>\n"),
        "qwen2_5_vl": ("Qwen2_5_VL", patches | small, patches | small, {}, "<|vision_start|><|{}_pad|><|vision_end|>"),
        "qwen3_vl": ("Qwen3VL", patches | small, patches | small, {}, "<|vision_start|><|{}_pad|><|vision_end|>"),
    }[kind]
    if kind == "internvl":
        processor = {"image_seq_length": 4}
    elif kind.startswith(("video", "llava")):
        strategy = "full" if kind == "llava_onevision" else "default"
        processor |= {"patch_size": 8, "vision_feature_select_strategy": strategy, "num_additional_image_tokens": 1}
    types = {"qwen2_5_vl": "Qwen2VL", "qwen3_vl": "Qwen2VL", "llava_next_video": "LlavaNext"}
    image = {"image_processor_type": f"{types.get(kind, name)}ImageProcessor"} | image
    files: dict[str, Any] = {
        "preprocessor_config.json": IMAGE | image | {"processor_class": f"{name}Processor"},
        "video_preprocessor_config.json": IMAGE | video,
        "processor_config.json": processor | {"processor_class": f"{name}Processor"},
    }
    if kind == "video_llava":
        return files  # as published: the package's own template is used
    vision_tokens = {media: vision.format(media) for media in ("image", "video")}
    if kind == "internvl":
        vision_tokens["image"] = "<IMG_CONTEXT>\n"
    files["chat_template.jinja"] = CHATML.replace("VIDEO", vision_tokens["video"]).replace(
        "IMAGE", vision_tokens["image"]
    )
    return files
