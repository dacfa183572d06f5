"""The table of checkpoints known by name, and the functions that load any model."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import torch

from mova.errors import ModelError, UsageError
from mova.models.encoder import DualEncoder
from mova.models.families import FAMILIES, family_of_folder
from mova.models.hub import find_checkpoint, is_cached
from mova.models.precision import choose_device, choose_dtype

if TYPE_CHECKING:
    from mova.models.entailment import EntailmentModel

DEFAULT_MODEL = "google/siglip2-base-patch32-256"

FOREIGN = FAMILIES["two-tower"]
"""The family that loads checkpoints which no family recognizes as its own."""


@dataclass(frozen=True)
class Entry:
    """A checkpoint known by name, described for choosing one.

    Attributes:
        name: value of `--model`.
        licence: SPDX name of the weights' licence.
        size: download size.
        use: intended use.
        quality: published zero-shot figures, in percent.
        source: where licence and figures are published.
        folder_function: path of the function that returns the folder of weights inside the package, if they are.
        load_function: path of (precision, device) -> model, for weights in packages of an extra. Neither: on the Hub.
        extra: name of that extra.
        installed_function: path of the function that returns whether it is installed.

    >>> entry = MODELS["mova-worlds-tiny"]
    >>> entry.licence, entry.in_package, entry.is_ready()
    ('Apache-2.0', True, True)
    """

    name: str
    licence: str
    size: str
    use: str
    quality: str
    source: str
    folder_function: str | None = None
    load_function: str | None = None
    extra: str | None = None
    installed_function: str | None = None

    @property
    def in_package(self) -> bool:
        """Whether the weights come with mova."""
        return self.folder_function is not None

    def folder(self) -> Path:
        """Return the folder of the weights inside the package."""
        assert self.folder_function is not None
        return resolve_name(self.folder_function)()

    def is_ready(self) -> bool:
        """Return whether the weights are on this machine; nothing is downloaded or read."""
        if self.installed_function is not None:
            return resolve_name(self.installed_function)()
        return self.in_package or is_cached(self.name)

    def to_json(self) -> dict[str, str]:
        """Return the row that `mova models --json` prints."""
        keys = ("name", "licence", "size", "use", "quality", "source")
        return {key: getattr(self, key) for key in keys}


BIG_VISION = "google-research/big_vision, configs/proj/image_text/README_siglip2.md; arXiv 2502.14786, Table 1"
OPEN_CLIP = "openai/CLIP, LICENSE; mlfoundations/open_clip, docs/openclip_retrieval_results.csv"

_HUB = Entry("", "Apache-2.0", "", "", "", BIG_VISION)
_ENTRIES = (
    replace(
        _HUB,
        name=DEFAULT_MODEL,
        size="1.51 GB + 34 MB tokenizer",
        use="real footage, many languages; fast enough for a CPU",
        quality="COCO text-image R@1 47.2, image-text 63.7; ImageNet 74.0",
    ),
    replace(
        _HUB,
        name="google/siglip2-so400m-patch14-384",
        size="4.54 GB + 34 MB tokenizer",
        use="real footage, many languages, best quality; needs a GPU",
        quality="COCO text-image R@1 55.8, image-text 71.7; ImageNet 84.1",
    ),
    replace(
        _HUB,
        name="openai/clip-vit-base-patch32",
        licence="MIT",
        size="0.61 GB",
        use="real footage, English; smallest download",
        quality="COCO text-image R@1 30.4, image-text 50.1",
        source=OPEN_CLIP,
    ),
    replace(
        _HUB,
        name="openai/clip-vit-large-patch14",
        licence="MIT",
        size="1.71 GB",
        use="real footage, English; comparison with published CLIP results",
        quality="COCO text-image R@1 36.5, image-text 56.3",
        source=OPEN_CLIP,
    ),
    Entry(
        name="mova-natural",
        licence="Apache-2.0",
        size="107 MB with pip install 'mova[natural]'",
        use="real footage, English, offline: finds videos by what is in them, not actions, people or the second",
        quality="on 32 real clips: see its model card",
        source="src/mova/models/natural/weights/README.md",
        load_function="mova.models.natural.model:load_installed",
        extra="natural",
        installed_function="mova.models.natural.weights:is_installed",
    ),
    Entry(
        name="mova-worlds-tiny",
        licence="Apache-2.0",
        size="in the package",
        use="rendered Worlds only: demonstration and offline tests, not real footage",
        quality="on held-out Worlds: see its model card",
        source="src/mova/models/worlds_tiny/weights/mova-worlds-tiny/README.md",
        folder_function="mova.models.worlds_tiny.model:shipped_folder",
    ),
)
MODELS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""Every checkpoint known by name."""
ONLY_RENDERED = "mova-worlds-tiny"
"""Known by name, but not for real footage."""


def explain_default() -> str:
    """Return which model is used if none is requested, why, and which others for real footage are on this machine.

    >>> explain_default().split(" (")[0]
    'model: google/siglip2-base-patch32-256, the default'
    """
    default = MODELS[DEFAULT_MODEL]
    ready = [name for name, entry in MODELS.items() if name != ONLY_RENDERED and entry.is_ready()]
    state = "on this machine" if DEFAULT_MODEL in ready else f"not on this machine; download {default.size}"
    others = [name for name in ready if name != DEFAULT_MODEL]
    also = f"; also on this machine: {', '.join(others)} (--model)" if others else ""
    return f"model: {DEFAULT_MODEL}, the default ({state}){also}"


def with_defaults(precision: str, device: str | torch.device | None) -> tuple[str, str | torch.device | None]:
    """Return precision and device; where they are left to mova, those of MOVA_PRECISION and MOVA_DEVICE, if set.

    Example:
        >>> with_defaults("fp32", "cpu")
        ('fp32', 'cpu')
    """
    chosen = os.environ.get("MOVA_PRECISION") or "auto" if precision == "auto" else precision
    return chosen, os.environ.get("MOVA_DEVICE") or None if device is None else device


def load(name_or_path: str | Path, *, precision: str = "auto", device: str | torch.device | None = None) -> DualEncoder:
    """Load a model, ready to encode. It is the requested one or an error, never another one.

    Args:
        name_or_path: a folder (saved by mova, or in the Hub's layout), a name in `MODELS`, or the Hub name of any dual
            encoder that transformers loads.
        precision: "fp32", "bf16", or "auto": that of the environment variable MOVA_PRECISION if it is set, else bf16
            where the hardware multiplies it natively.
        device: where the model runs; default: MOVA_DEVICE if it is set, else a GPU if there is one.

    Raises:
        ModelError: the model cannot be found or is not a dual encoder; the message says how to get weights by hand.
        UsageError: an unknown precision or device.

    >>> model = load("mova-worlds-tiny", device="cpu")
    >>> model.encode_text("a small orange crescent").pooled.shape
    torch.Size([1, 192])
    """
    precision, device = with_defaults(precision, device)
    target = choose_device(device)
    choose_dtype(precision, target)
    entry = MODELS.get(str(name_or_path))
    if entry is not None and entry.in_package and not Path(name_or_path).is_dir():
        return _load_packaged(entry, precision, target)
    if entry is not None and entry.load_function is not None and not Path(name_or_path).is_dir():
        return resolve_name(entry.load_function)(precision, target)
    folder = find_checkpoint(name_or_path)
    family = family_of_folder(folder)
    if family is not None:
        return family.model_class().from_pretrained(str(folder), precision=precision, device=target)
    assert FOREIGN.load_foreign is not None
    return resolve_name(FOREIGN.load_foreign)(name_or_path, precision=precision, device=target)


def _load_packaged(entry: Entry, precision: str, device: torch.device) -> DualEncoder:
    folder = entry.folder()
    family = family_of_folder(folder) if (folder / "config.json").is_file() else None
    if family is None:
        raise ModelError(f"{entry.name}: this installation lacks the weights in {folder}; reinstall mova")
    model = family.model_class().from_pretrained(str(folder), precision=precision, device=device)
    model.name = entry.name
    return model


def load_video_llm(name_or_path: str | Path, **options: Any) -> EntailmentModel:
    """Load a video or image LLM; options as for `VideoLLM.from_pretrained`.

    Raises:
        ModelError: it cannot be found or loaded.
        UsageError: an option that does not exist, or that this machine cannot serve.

    >>> model = load_video_llm("tiny-video-llm", max_frames=2)
    >>> len(model.sample("film.mp4"))
    2
    """
    load_foreign = FAMILIES["video-llm"].load_foreign
    assert load_foreign is not None
    return resolve_name(load_foreign)(name_or_path, **options)


def load_any(name_or_path: str | Path, **options: Any) -> DualEncoder | EntailmentModel:
    """Load a dual encoder or a video LLM, whichever a name or folder is.

    Args:
        name_or_path: anything that `load` or `VideoLLM.from_pretrained` accepts.
        options: of `VideoLLM.from_pretrained`; those that are None count as not passed.

    Raises:
        UsageError: an option of video LLMs for a dual encoder.
        ModelError: the model cannot be found or loaded.

    >>> load_any("mova-worlds-tiny").frame_rate
    2.0
    >>> load_any("tiny-video-llm").scores("film.mp4", ["Two black discs shrink."]).shape
    torch.Size([1])
    """
    options = {key: value for key, value in options.items() if value is not None}
    known = str(name_or_path) in MODELS and not Path(name_or_path).is_dir()
    for family in () if known else FAMILIES.values():
        if family.recognizes is not None and resolve_name(family.recognizes)(name_or_path):
            assert family.load_foreign is not None
            return resolve_name(family.load_foreign)(name_or_path, **options)
    if unknown := options.keys() - {"precision", "device"}:
        raise UsageError(f"{name_or_path} is a two-tower model; {', '.join(sorted(unknown))} is for video LLMs only")
    return load(name_or_path, **options)
