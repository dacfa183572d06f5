"""Tiny judges of SynViTA's ensemble in the hub's layout: real architectures and processors, random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
)

from mova.models.judges.clip_t5 import ClipT5, ClipT5Config
from tests.support.tiny_videollms import IMAGE, LLM, SIZE, TOWER, make_tokenizer, tokenizer_backend

T5: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
}
CROP = {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}, "do_center_crop": True}


def ending_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that ends each text with `</s>`, as T5's does."""
    backend = Tokenizer.from_str(tokenizer_backend())
    end = backend.token_to_id("</s>")
    backend.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")


def _spread(model: Any) -> Any:
    """Draw weights that make answers differ."""
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            scale = 3.0 if "lm_head" in name else 0.8
            torch.nn.init.normal_(
                weight, std=0.5 if "embed" in name or "shared" in name else scale / weight.shape[-1] ** 0.5
            )
    return model.eval()


def build_instruct_blip(folder: Path, decoder_only: bool = False) -> Path:
    """InstructBLIP with T5, or with Llama in the place of Vicuna."""
    tokenizer = make_tokenizer() if decoder_only else ending_tokenizer()
    image = tokenizer.convert_tokens_to_ids("<image>")
    text = LlamaConfig(**LLM, vocab_size=len(tokenizer)) if decoder_only else T5Config(**T5, vocab_size=len(tokenizer))
    qformer = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    qformer |= {"vocab_size": len(tokenizer), "encoder_hidden_size": 32, "cross_attention_frequency": 1}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        config = InstructBlipConfig(
            vision_config=TOWER | {"qkv_bias": True},
            qformer_config=qformer,
            text_config=text.to_dict(),
            num_query_tokens=4,
            image_token_index=image,
        )
        model = _spread(InstructBlipForConditionalGeneration(config))
        torch.nn.init.normal_(model.query_tokens)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder / "qformer_tokenizer")
    square = {"size": {"height": SIZE, "width": SIZE}, "image_processor_type": "BlipImageProcessor"}
    _write(folder, IMAGE | square, {"processor_class": "InstructBlipProcessor", "num_query_tokens": 4})
    return folder


def build_clip_t5(folder: Path) -> Path:
    """CLIP-T5, whose configuration names a tower in the folder `tower` inside."""
    tokenizer = ending_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(6)
        tower = _spread(CLIPVisionModel(CLIPVisionConfig(**TOWER)))
        placed = {"mm_vision_tower": str(folder / "tower"), "mm_hidden_size": 32, "mm_projector_type": "mlp2x_gelu"}
        config = ClipT5Config(**T5, vocab_size=len(tokenizer), mm_vision_select_layer=-2, **placed)
        model = _spread(ClipT5(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tower.save_pretrained(folder / "tower")
    _write(folder / "tower", IMAGE | CROP | {"image_processor_type": "CLIPImageProcessor"}, None)
    return folder


def build_llava(folder: Path) -> Path:
    """LLaVA-1.5 without a chat template of its own."""
    tokenizer = make_tokenizer()
    image = tokenizer.convert_tokens_to_ids("<image>")
    clip = CLIPVisionConfig(**TOWER, projection_dim=32)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        llama = LlamaConfig(**LLM, vocab_size=len(tokenizer))
        config = LlavaConfig(vision_config=clip, text_config=llama, image_token_index=image)
        model = _spread(LlavaForConditionalGeneration(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = {"processor_class": "LlavaProcessor", "patch_size": 8, "vision_feature_select_strategy": "default"}
    processor |= {"num_additional_image_tokens": 1}
    _write(folder, IMAGE | CROP | {"image_processor_type": "CLIPImageProcessor"}, processor)
    return folder


def _write(folder: Path, images: dict[str, Any], processor: dict[str, Any] | None) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(images), encoding="utf-8")
    if processor is not None:
        (folder / "processor_config.json").write_text(json.dumps(processor), encoding="utf-8")
