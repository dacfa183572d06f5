"""Tiny text-to-video pipelines in diffusers' layout: real classes, schedulers and tokenizers, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

WORDS = ("a", "the", "man", "woman", "dog", "cat", "runs", "sits", "red", "blue", "two", "left", "and", "then")


def _text() -> dict[str, Any]:
    """T5's encoder and tokenizer."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -2.0) for word in WORDS), ("▁", -3.0)]
    pieces += [(letter, -4.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokenizer = T5TokenizerFast(vocab=pieces, extra_ids=0)
    config = T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return {"tokenizer": tokenizer, "text_encoder": T5EncoderModel(config)}


def cogvideox() -> Any:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel

    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=1,
        sample_width=2,
        sample_height=2,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=226,
    )
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    return CogVideoXPipeline(transformer=transformer, vae=vae, scheduler=CogVideoXDDIMScheduler(), **_text())


def ltx() -> Any:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )

    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=32,
    )
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False, False, False, False, False),
        upsample_residual=(False, False, False, False),
        upsample_factor=(1, 1, 1, 1),
        timestep_conditioning=False,
        patch_size=1,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    return LTXPipeline(transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(), **_text())


def wan() -> Any:
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    tokenizer = _text()["tokenizer"]
    text = UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    transformer = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=32,
        ffn_dim=32,
        num_layers=1,
        rope_max_seq_len=32,
    )
    return WanPipeline(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(text),
        vae=AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
    )


def clip_text(width: int = 32, layers: int = 1, projected: int | None = None) -> dict[str, Any]:
    """CLIP's text encoder and tokenizer; `projected`: width of its pooled vector (the second encoder of SDXL)."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from tests.support.tiny_models import clip_tokenizer

    tokenizer = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        projection_dim=projected or 512,
        **{name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    return {"text_encoder": kind(config).eval(), "tokenizer": tokenizer}


def _images() -> dict[str, Any]:
    """The autoencoder and the scheduler of Stable Diffusion."""
    from diffusers import AutoencoderKL, DDIMScheduler

    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=2,
    )
    return {"vae": vae, "scheduler": DDIMScheduler(beta_schedule="linear", clip_sample=False, steps_offset=1)}


UNET: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}


def stable_diffusion(**text: Any) -> Any:
    """A pipeline of images, which AnimateDiff's adapter moves."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    text = text or clip_text()
    return StableDiffusionPipeline(
        **_images(),
        **text,
        unet=UNet2DConditionModel(**UNET),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def animate_diff(**text: Any) -> Any:
    """AnimateDiff on Stable Diffusion."""
    from diffusers import AnimateDiffPipeline, UNet2DConditionModel

    text = text or clip_text()
    return AnimateDiffPipeline(
        **_images(), **text, unet=UNet2DConditionModel(**UNET), motion_adapter=motion_adapter(), feature_extractor=None
    )


def text_to_video_sd(**text: Any) -> Any:
    """ModelScope's pipeline."""
    from diffusers import TextToVideoSDPipeline, UNet3DConditionModel

    text = text or clip_text()
    options = UNET | {
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    }
    return TextToVideoSDPipeline(**_images(), **text, unet=UNet3DConditionModel(**options))


def animate_diff_sdxl(first: Any = None, second: Any = None) -> Any:
    """AnimateDiff on Stable Diffusion XL, with two text encoders of widths 32 and 16."""
    from diffusers import AnimateDiffSDXLPipeline, UNet2DConditionModel

    first, second = first or clip_text(32, 2), second or clip_text(16, 2, 16)
    unet = UNet2DConditionModel(
        **UNET
        | {
            "cross_attention_dim": 48,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 16,
            "transformer_layers_per_block": 1,
            "use_linear_projection": True,
        }
    )
    return AnimateDiffSDXLPipeline(
        **_images(),
        **first,
        text_encoder_2=second["text_encoder"],
        tokenizer_2=second["tokenizer"],
        unet=unet,
        motion_adapter=motion_adapter(),
    )


def motion_adapter() -> Any:
    from diffusers import MotionAdapter

    return MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=2
    )


BUILDERS = {
    "stable_diffusion": stable_diffusion,
    "animate_diff": animate_diff,
    "animate_diff_sdxl": animate_diff_sdxl,
    "text_to_video_sd": text_to_video_sd,
    "motion_adapter": motion_adapter,
    "cogvideox": cogvideox,
    "ltx": ltx,
    "wan": wan,
}


def build(kind: str, folder: Path) -> Path:
    """A pipeline's folder, as the hub has them."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        BUILDERS[kind]().save_pretrained(folder)
    return folder
