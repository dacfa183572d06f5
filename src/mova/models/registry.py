"""The one table of models that mova knows by name, and the one way to load any model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mova.errors import ModelError, UsageError
from mova.models.encoder import DualEncoder
from mova.models.hub import find_checkpoint, read_json
from mova.models.precision import choose_device, choose_dtype

if TYPE_CHECKING:
    from mova.models.video_llm.model import VideoLLM

DEFAULT_MODEL = "google/siglip2-base-patch32-256"

Loader = Callable[[str, str, torch.device], DualEncoder]
"""(name or folder, precision, device) -> model."""


@dataclass(frozen=True)
class Entry:
    """What a person needs to know to choose a model.

    Attributes:
        name: what `--model` takes.
        licence: SPDX name of the weights' licence.
        size: of the download.
        use: what it is for.
        quality: published zero-shot figures, per cent.
        source: where licence and figures were published.
        loader: how it is loaded.
    """

    name: str
    licence: str
    size: str
    use: str
    quality: str
    source: str
    loader: Loader

    def to_json(self) -> dict[str, str]:
        """The row that `mova models --json` prints."""
        keys = ("name", "licence", "size", "use", "quality", "source")
        return {key: getattr(self, key) for key in keys}


def _load_two_tower(name: str, precision: str, device: torch.device) -> DualEncoder:
    """A checkpoint in the hub's layout."""
    from mova.models.two_tower.model import TwoTower

    return TwoTower.from_backbone(name, precision=precision, device=device)


def _load_saved_two_tower(folder: str, precision: str, device: torch.device) -> DualEncoder:
    """A folder that `TwoTower.save_pretrained` wrote."""
    from mova.models.two_tower.model import TwoTower

    return TwoTower.from_pretrained(folder, precision=precision, device=device)


def _load_saved_worlds_tiny(folder: str, precision: str, device: torch.device) -> DualEncoder:
    """A folder that `WorldsTiny.save_pretrained` wrote. It is small: "auto" means fp32 everywhere."""
    from mova.models.worlds_tiny.model import WorldsTiny

    dtype = torch.float32 if precision == "auto" else choose_dtype(precision, device)
    return WorldsTiny.from_pretrained(folder).to(device=device, dtype=dtype).eval()


def _load_saved_mova(folder: str, precision: str, device: torch.device) -> DualEncoder:
    """A folder that `Mova.save_pretrained` wrote."""
    from mova.models.mova.model import Mova

    return Mova.from_pretrained(folder, precision=precision, device=device)


def _load_saved_gexia(folder: str, precision: str, device: torch.device) -> DualEncoder:
    """A folder that `Gexia.save_pretrained` wrote."""
    from mova.models.gexia.model import Gexia

    return Gexia.from_pretrained(folder, precision=precision, device=device)


def _load_shipped_worlds_tiny(name: str, precision: str, device: torch.device) -> DualEncoder:
    """The trained model inside this package."""
    from mova.models.worlds_tiny.model import shipped_folder

    folder = shipped_folder()
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name}: this installation lacks the weights that should lie in {folder}; install mova again")
    model = _load_saved_worlds_tiny(str(folder), precision, device)
    model.name = name
    return model


BIG_VISION = "google-research/big_vision, configs/proj/image_text/README_siglip2.md; arXiv 2502.14786, Table 1"
OPEN_CLIP = "openai/CLIP, LICENSE; mlfoundations/open_clip, docs/openclip_retrieval_results.csv"

_HUB = Entry("", "Apache-2.0", "", "", "", BIG_VISION, _load_two_tower)
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
        use="real footage, many languages, best quality; wants a GPU",
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
        name="mova-worlds-tiny",
        licence="Apache-2.0",
        size="in the package",
        use="rendered Worlds only: demonstration and offline tests, not real footage",
        quality="on held-out Worlds: see its model card",
        source="src/mova/models/worlds_tiny/weights/mova-worlds-tiny/README.md",
        loader=_load_shipped_worlds_tiny,
    ),
)
MODELS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""Every model known by name."""

SAVED: dict[str, Loader] = {
    "mova-two-tower": _load_saved_two_tower,
    "mova-worlds-tiny": _load_saved_worlds_tiny,
    "mova": _load_saved_mova,
    "mova-gexia": _load_saved_gexia,
}
"""`model_type` of folders that mova wrote -> how they are loaded."""


def load(name_or_path: str | Path, *, precision: str = "auto", device: str | torch.device | None = None) -> DualEncoder:
    """Load a model, ready to encode. It is the one asked for or an error, never another one.

    Args:
        name_or_path: a folder (saved by mova, or in the hub's layout), a name in `MODELS`, or any hub name of
            a transformers dual encoder.
        precision: "fp32", "bf16", or "auto" (bf16 where the hardware multiplies it natively).
        device: where it runs; a GPU if there is one, if left out.

    Raises:
        ModelError: it cannot be found or is no dual encoder; the message says how to get weights by hand.
        UsageError: an unknown precision or device.
    """
    target = choose_device(device)
    choose_dtype(precision, target)
    entry = MODELS.get(str(name_or_path))
    if entry is not None and not Path(name_or_path).is_dir():
        return entry.loader(entry.name, precision, target)
    folder = find_checkpoint(name_or_path)
    kind = read_json(folder / "config.json").get("model_type")
    loader = SAVED.get(str(kind), _load_two_tower)
    return loader(str(folder if loader is not _load_two_tower else name_or_path), precision, target)


def load_any(name_or_path: str | Path, **options: Any) -> DualEncoder | VideoLLM:
    """A two-tower model or a video LLM, whichever a name or folder is.

    Args:
        name_or_path: whatever `load` or `VideoLLM.from_pretrained` takes.
        options: of `VideoLLM.from_pretrained`; those that are None count as left out.

    Raises:
        UsageError: an option of video LLMs for a two-tower model.
        ModelError: it cannot be found or loaded.
    """
    from mova.models.video_llm.model import VideoLLM, is_video_llm

    given = {key: value for key, value in options.items() if value is not None}
    shipped = str(name_or_path) in MODELS and not Path(name_or_path).is_dir()
    if not shipped and is_video_llm(name_or_path):
        return VideoLLM.from_pretrained(name_or_path, **given)
    if strange := given.keys() - {"precision", "device"}:
        raise UsageError(f"{name_or_path} is a two-tower model; {', '.join(sorted(strange))} is for video LLMs only")
    return load(name_or_path, **given)
