"""Read the parts of a checkpoint in the Hub's layout: settings, tokenizer and weights, each with a clear error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from mova.errors import ModelError, UsageError, refuse_code
from mova.models.hub import read_json
from mova.models.two_tower.text_processor import TextRule, stretch_positions
from mova.scoring.caption_score import EvidenceRule
from mova.text.units import UnitRule
from mova.utils.text_files import PARSER_ERRORS

DAMAGE = (RuntimeError, SafetensorError, *PARSER_ERRORS)
"""Errors of transformers for a folder that is incomplete, damaged or of another architecture."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the progress bars and log messages of transformers; real problems are raised."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def dual_encoder_settings(folder: Path, name: str, video_features: str = "get_image_features") -> PreTrainedConfig:
    """Return the configuration of a folder, or raise if it is not that of a dual encoder.

    Args:
        folder: in the Hub's layout.
        name: the model's name in errors.
        video_features: the method of transformers that encodes pictures, or windows of frames.

    Raises:
        ModelError: the configuration is damaged, unknown to transformers, or of a model without both towers.
    """
    kind = read_json(folder / "config.json").get("model_type", "nothing")
    try:
        with quiet_transformers(), refuse_code(name):
            settings = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model = AutoModel._model_mapping[type(settings)]
    except DAMAGE as error:
        raise ModelError(f"{name}: its configuration ({kind}) cannot be read ({_line(error)})") from error
    features = all(hasattr(model, method) for method in (video_features, "get_text_features"))
    towers = all(hasattr(settings, tower) for tower in ("vision_config", "text_config"))
    if not (features and towers):
        raise ModelError(
            f"{name}: is a {kind}, not a dual encoder with image and text features (CLIP, SigLIP, ...); "
            "`mova models` lists some"
        )
    return settings


def image_settings(folder: Path, name: str) -> dict[str, Any]:
    """Return the image settings of a folder, from `preprocessor_config.json` or `processor_config.json`.

    Raises:
        ModelError: the folder has neither.
    """
    if (folder / "preprocessor_config.json").is_file():
        return read_json(folder / "preprocessor_config.json")
    if (folder / "processor_config.json").is_file():
        inner = read_json(folder / "processor_config.json").get("image_processor")
        if isinstance(inner, dict):
            return inner
    raise ModelError(f"{name}: the folder {folder} lacks preprocessor_config.json; download it from the Hub")


def load_tokenizer(folder: Path, name: str, settings: PreTrainedConfig) -> Any:
    """Load the tokenizer of a folder.

    Raises:
        ModelError: it is missing or damaged.
    """
    known = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")
    if not any(True for pattern in known for _ in folder.glob(pattern)):
        raise ModelError(
            f"{name}: the folder {folder} lacks its tokenizer files ({', '.join(known)}); download them too"
        )
    try:
        with quiet_transformers(), refuse_code(name):
            return AutoTokenizer.from_pretrained(folder, config=settings, trust_remote_code=False)
    except (*DAMAGE, TypeError, ImportError) as error:
        raise ModelError(f"{name}: its tokenizer cannot be read ({_line(error)}); download its files again") from error


def load_weights(folder: Path, name: str) -> PreTrainedModel:
    """Load the transformers model of a folder in float32. Code in the folder is never run.

    Raises:
        ModelError: see `load_complete`.
    """
    load = partial(AutoModel.from_pretrained, folder, dtype=torch.float32, trust_remote_code=False)
    return load_complete(load, name)


def load_complete(load: Callable[..., tuple[Any, Mapping[str, Any]]], name: str) -> Any:
    """Call a `from_pretrained` of transformers, and raise unless every weight comes from the file.

    Args:
        load: takes `output_loading_info`.
        name: the model's name in errors.

    Raises:
        ModelError: weights are missing (transformers would start them at random) or damaged.
    """
    try:
        with quiet_transformers(), refuse_code(name):
            model, report = load(output_loading_info=True)
    except DAMAGE as error:
        raise ModelError(f"{name}: its weights cannot be read ({_line(error)}); download them again") from error
    missing = sorted(report["missing_keys"])
    if missing:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ModelError(f"{name}: {len(missing)} weights are missing from its file ({names}); download it again")
    return model


def set_text_length(model: PreTrainedModel, rule: TextRule, length: int, name: str) -> TextRule:
    """Let a text tower read `length` tokens; stretch its position table if it has fewer rows.

    Raises:
        UsageError: a length below 3 (a special token at each end and one word), an architecture whose texts have one
            fixed length, or a tower without a plain position table.
    """
    if length < 3:
        raise UsageError(f"text_length {length}: a text needs at least 3 tokens")
    if rule.fixed:
        raise UsageError(
            f"{name}: its texts always have {rule.length} tokens, padding included, so text_length cannot be "
            "set; split captions into sentences"
        )
    embeddings = getattr(getattr(model, "text_model", None), "embeddings", None)
    table = getattr(embeddings, "position_embedding", None)
    if length > model.config.text_config.max_position_embeddings:
        if embeddings is None or table is None:
            raise UsageError(f"{name}: its text tower has no position table to stretch to {length}")
        set_positions(embeddings, stretch_positions(table.weight.detach(), length))
        model.config.text_config.max_position_embeddings = length
    return TextRule(length, rule.fixed, rule.lower)


def set_positions(embeddings: nn.Module, table: Tensor) -> None:
    """Replace the position table of a text tower's embeddings by another one, (L, C)."""
    embeddings.position_embedding = nn.Embedding.from_pretrained(table, freeze=False)
    embeddings.register_buffer("position_ids", torch.arange(len(table)).expand(1, -1), persistent=False)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def read_calibration(model: Any) -> None:
    """Set relevance threshold, units, evidence rule and scoring form of a model from its configuration."""
    model.relevance_threshold = model.config.relevance_threshold
    model.units = UnitRule.from_dict(model.config.units)
    model.rule = EvidenceRule.from_dict(model.config.rule)
    read_scoring_form(model)


def read_scoring_form(model: Any) -> None:
    """Set the scoring form by which a model was trained; models saved without one keep that of their class."""
    model.scoring_form = getattr(model.config, "scoring_form", None) or model.scoring_form


def write_calibration(model: Any) -> None:
    """Write relevance threshold, units, evidence rule and scoring form to the configuration, before it is saved."""
    model.config.relevance_threshold = model.relevance_threshold
    model.config.units = model.units.to_dict()
    model.config.rule = model.rule.to_dict()
    model.config.scoring_form = model.scoring_form
