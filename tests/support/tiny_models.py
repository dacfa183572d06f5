"""Tiny checkpoints in the hub's layout: real architectures and tokenizers, random weights, built offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, Unigram
from transformers import (
    Aimv2Config,
    Aimv2Model,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    GemmaTokenizer,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedModel,
    Siglip2Config,
    Siglip2Model,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipModel,
    SiglipTokenizer,
    XCLIPConfig,
    XCLIPModel,
    XLMRobertaTokenizer,
)

from mova.models.tiny_checkpoint import SIZE, TOWER, WIDTH, WINDOW, byte_level_tokenizer

CORPUS = [
    "A man opens a door. Then he pours tea into a white cup.",
    "Two red squares move left while a small green circle stands still!",
    "The dog, the cat and 3 birds run across the street; it's raining?",
    "An old woman reads a newspaper in the kitchen; children play football outside.",
    "naïve café déjà vu ünïcode 0123456789 (brackets) [more] 'quotes' \"double\"",
] * 4
TEXT_LENGTH = 64
CLIP_IMAGE: dict[str, Any] = {
    "crop_size": SIZE,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": SIZE,
}


def build_clip(folder: Path, *, old_eos: bool = False, positions: int = 77) -> Path:
    """A CLIP checkpoint; `old_eos` gives the configuration of OpenAI's first uploads (end of text "2")."""
    tokenizer = clip_tokenizer()
    eos = 2 if old_eos else tokenizer.eos_token_id
    text = TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": positions, "eos_token_id": eos}
    text |= {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    vision = TOWER | {"hidden_size": 48, "image_size": SIZE, "patch_size": 8}
    model = _random(CLIPModel, CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH))
    return save_checkpoint(folder, model, tokenizer, CLIP_IMAGE)


def build_metaclip2(folder: Path) -> Path:
    """A MetaCLIP 2 checkpoint: CLIP's towers with the tokenizer of XLM-RoBERTa."""
    tokenizer = xlm_roberta_tokenizer()
    text = TOWER | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    text |= {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    vision = TOWER | {"hidden_size": 48, "image_size": SIZE, "patch_size": 8}
    config = MetaClip2Config(text_config=text, vision_config=vision, projection_dim=WIDTH)
    return save_checkpoint(folder, _random(MetaClip2Model, config), tokenizer, CLIP_IMAGE)


def build_aimv2(folder: Path) -> Path:
    """An AIMv2 checkpoint with a text tower (Apple's LiT upload): CLIP's tokenizer and images."""
    tokenizer = clip_tokenizer()
    text = TOWER | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    vision = TOWER | {"hidden_size": 48, "image_size": SIZE, "patch_size": 8}
    config = Aimv2Config(text_config=text, vision_config=vision, projection_dim=WIDTH)
    return save_checkpoint(folder, _random(Aimv2Model, config), tokenizer, CLIP_IMAGE)


def build_siglip(folder: Path) -> Path:
    """A SigLIP checkpoint with a SentencePiece tokenizer."""
    tokenizer = siglip_tokenizer(folder)
    model = _siglip(tokenizer.vocab_size)
    return save_checkpoint(folder, model, tokenizer, _siglip_image("SiglipImageProcessor", resample=3))


def build_siglip2(folder: Path) -> Path:
    """A SigLIP 2 checkpoint (fixed resolution): SigLIP's architecture, a Gemma tokenizer keeping capitals."""
    tokenizer = gemma_tokenizer(GemmaTokenizer)
    model = _siglip(len(tokenizer))
    return save_checkpoint(folder, model, tokenizer, _siglip_image("SiglipImageProcessor", resample=2))


def build_naflex(folder: Path) -> Path:
    """A SigLIP 2 NaFlex checkpoint (any ratio, at most 16 patches)."""
    tokenizer = gemma_tokenizer(Siglip2Tokenizer)
    text = TOWER | {"vocab_size": len(tokenizer), "projection_size": WIDTH}
    vision = TOWER | {"hidden_size": WIDTH, "patch_size": 8, "num_patches": 16}
    model = _random(Siglip2Model, Siglip2Config(text_config=text, vision_config=vision))
    image = _siglip_image("Siglip2ImageProcessor", resample=2) | {"patch_size": 8, "max_num_patches": 16}
    del image["size"]
    return save_checkpoint(folder, model, tokenizer, image)


def build_x_clip(folder: Path) -> Path:
    """An X-CLIP checkpoint with windows of `WINDOW` frames, set as Microsoft's uploads are."""
    tokenizer = clip_tokenizer()
    text = TOWER | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    text |= {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    vision = TOWER | {"hidden_size": 48, "image_size": SIZE, "patch_size": 8, "num_frames": WINDOW}
    vision |= {"mit_hidden_size": WIDTH, "mit_intermediate_size": 48, "mit_num_attention_heads": 2}
    config = XCLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH, prompt_num_attention_heads=2)
    image: dict[str, Any] = {
        "crop_size": {"height": SIZE, "width": SIZE},
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "VideoMAEFeatureExtractor",
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 2,
        "size": {"shortest_edge": SIZE},
    }
    return save_checkpoint(folder, _random(XCLIPModel, config), tokenizer, image)


def build_video_prism(folder: Path) -> Path:
    """A VideoPrism checkpoint with a text tower and windows of `WINDOW` frames."""
    from transformers import VideoPrismClipModel, VideoPrismConfig, VideoPrismTokenizer

    pieces = unigrams("<pad>", "</s>", "<unk>")
    tokenizer = VideoPrismTokenizer(vocab=pieces, extra_ids=0, model_max_length=TEXT_LENGTH)
    sizes = {key: value for key, value in TOWER.items() if key != "num_hidden_layers"}
    text = TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": TEXT_LENGTH}
    vision = sizes | {"image_size": SIZE, "num_frames": WINDOW, "tubelet_size": [1, 8, 8]}
    vision |= {"num_spatial_layers": 2, "num_temporal_layers": 1, "num_auxiliary_layers": 1}
    config = VideoPrismConfig(text_config=text, vision_config=vision)
    model = _random(VideoPrismClipModel, config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image = {"size": {"height": SIZE, "width": SIZE}, "do_normalize": False, "resample": 3}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(image), encoding="utf-8")
    return folder


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "clip": build_clip,
    "siglip": build_siglip,
    "siglip2": build_siglip2,
    "naflex": build_naflex,
    "metaclip2": build_metaclip2,
    "aimv2": build_aimv2,
}


@cache
def clip_tokenizer() -> CLIPTokenizer:
    """Trained once per process."""
    return byte_level_tokenizer(CORPUS)


@cache
def xlm_roberta_tokenizer() -> XLMRobertaTokenizer:
    """A unigram model with XLM-RoBERTa's special ids."""
    vocab = unigrams("<s>", "<pad>", "</s>", "<unk>")
    return XLMRobertaTokenizer(vocab=[*vocab, ("<mask>", 0.0)], model_max_length=77)


def unigrams(*specials: str) -> list[tuple[str, float]]:
    """Pieces of the corpus with their scores, after the special ones."""
    pieces = Tokenizer(Unigram())
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=140, special_tokens=list(specials), unk_token="<unk>", show_progress=False
    )
    pieces.train_from_iterator(CORPUS, trainer)
    return [(piece, score) for piece, score in json.loads(pieces.to_str())["model"]["vocab"]]


def siglip_tokenizer(folder: Path) -> SiglipTokenizer:
    """A SentencePiece unigram model with SigLIP's special ids."""
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(folder / "spiece"),
        vocab_size=130,
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "spiece.vocab").unlink()
    return SiglipTokenizer(str(folder / "spiece.model"), model_max_length=TEXT_LENGTH)


@cache
def gemma_tokenizer(kind: type) -> Any:
    """A BPE with byte fallback and Gemma's special ids, set as SigLIP 2's folders set it."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    bpe = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    bpe.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=600, special_tokens=specials + alphabet))
    content = json.loads(bpe.to_str())["model"]
    tokenizer = kind(
        vocab=content["vocab"],
        merges=[tuple(pair) for pair in content["merges"]],
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
        model_max_length=int(1e30),
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return tokenizer


def _siglip(vocabulary: int) -> PreTrainedModel:
    text = TOWER | {
        "vocab_size": vocabulary,
        "projection_size": WIDTH,
        "max_position_embeddings": TEXT_LENGTH,
    }
    vision = TOWER | {"hidden_size": WIDTH, "image_size": SIZE, "patch_size": 8}
    return _random(SiglipModel, SiglipConfig(text_config=text, vision_config=vision))


def _siglip_image(kind: str, resample: int) -> dict[str, Any]:
    return {
        "do_convert_rgb": None,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": kind,
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "SiglipProcessor",
        "resample": resample,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": SIZE, "width": SIZE},
    }


def _random(kind: type[PreTrainedModel], config: Any) -> PreTrainedModel:
    """A model whose weights are large enough that different inputs give clearly different vectors."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = kind(config).eval()
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.6 / weight.shape[-1] ** 0.5 if "embedding" not in name else 0.5)
    return model


def save_checkpoint(folder: Path, model: PreTrainedModel, tokenizer: Any, image: dict[str, Any]) -> Path:
    """Write a model, its tokenizer and its image settings as the hub keeps them."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(image, indent=2), encoding="utf-8")
    return folder
