"""Any text-to-video pipeline of diffusers as a function of prompt and seed.

`TextToVideo` loads what `DiffusionPipeline.from_pretrained` loads (CogVideoX, Wan, LTX, HunyuanVideo, ...), and an
image model with a motion adapter (AnimateDiff). Settings that a pipeline calls by another name find it; those that it
does not have are refused before anything is rendered. Needs the extra `t2v`.

Shape legend: T frames, H height, W width (pixels).
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch
import yaml

from mova._version import __version__
from mova.errors import ModelError, UsageError
from mova.models.hub import NETWORK_ERRORS, read_json
from mova.models.precision import choose_device, choose_dtype
from mova.text_to_video.output_frames import to_pixels
from mova.types import Pixels
from mova.utils.hashing import content_hash

NAMES: Mapping[str, tuple[str, ...]] = {
    "frames": ("num_frames", "video_length"),
    "fps": ("frame_rate", "fps"),
    "height": ("height",),
    "width": ("width",),
    "steps": ("num_inference_steps",),
    "guidance": ("guidance_scale",),
}
"""A setting -> what pipelines call it."""
ANIMATED = {
    "StableDiffusionPipeline": "AnimateDiffPipeline",
    "StableDiffusionXLPipeline": "AnimateDiffSDXLPipeline",
}
"""Pipelines of images -> of videos, with a motion adapter (Guo et al. 2024, arXiv 2307.04725)."""
VERSIONS = ("diffusers", "transformers", "torch")
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
LOAD_ERRORS = (OSError, ValueError, ImportError, RuntimeError, AttributeError, KeyError, TypeError)
"""What diffusers raises for folders that hold something else than a whole pipeline."""
FETCH_ERRORS: tuple[type[BaseException], ...] = (*NETWORK_ERRORS, OSError, ValueError)
"""What the hub's client raises for names and revisions that it cannot give."""


@dataclass(frozen=True)
class Settings:
    """How videos are rendered; None leaves the pipeline's own choice.

    Attributes:
        frames: frames of a video.
        fps: frames a second of the file (and of the pipeline's own clock, where it has one).
        height, width: pixels.
        steps: of denoising.
        guidance: scale of classifier-free guidance.
        options: further arguments of the pipeline by their own names, such as `negative_prompt`.
    """

    frames: int | None = None
    fps: float | None = None
    height: int | None = None
    width: int | None = None
    steps: int | None = None
    guidance: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class TextToVideo:
    """A pipeline with its settings.

    Args:
        pipeline: of diffusers, on its device.
        settings: see `Settings`.
        identity: what else decides what it renders: revision of the weights, number format.
        name: how people refer to it.

    Raises:
        UsageError: a setting that the pipeline does not have.
        ModelError: the pipeline makes no videos, or wants more than a text.
    """

    def __init__(self, pipeline: Any, settings: Settings, identity: Mapping[str, Any], name: str = "unnamed") -> None:
        self.pipeline, self.name = pipeline, name
        kind = type(pipeline).__name__
        takes = inspect.signature(pipeline.__call__).parameters
        self._arguments = _arguments(kind, takes, settings)
        self.fps = float(settings.fps or _own_rate(takes) or family(kind)["fps"])
        told = {name: self._value(takes, name) for name in ("frames", "steps", "guidance")}
        self._identity = {**identity, "pipeline": kind, **told, "fps": self.fps, "arguments": self._arguments}

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        settings: Settings | None = None,
        *,
        revision: str | None = None,
        motion_adapter: str | Path | None = None,
        device: str | None = None,
        dtype: str = "auto",
        offload: bool = False,
    ) -> TextToVideo:
        """Load a pipeline.

        Args:
            name_or_path: a folder in diffusers' layout, or a hub name.
            settings: see `Settings`.
            revision: branch, tag or commit on the hub.
            motion_adapter: folder or hub name of AnimateDiff's adapter, for a Stable Diffusion model of images.
            device: where it runs; a GPU if there is one.
            dtype: "fp32", "bf16", "fp16" or "auto"; parts that a family wants in float32 stay in it.
            offload: keep on the GPU only the part that works.

        Raises:
            ModelError: diffusers is not installed, or the pipeline cannot be found or loaded.
            UsageError: options that do not exist or do not go together.
        """
        diffusers = _diffusers()
        place = choose_device(device)
        number = torch.float16 if dtype == "fp16" else choose_dtype(dtype, place)
        if offload and place.type == "cpu":
            raise UsageError("--offload is for GPUs: on a CPU the whole pipeline lies in its memory anyway")
        folder = find_folder(diffusers.DiffusionPipeline, name_or_path, revision, "model_index.json")
        kind = str(read_json(folder / "model_index.json").get("_class_name"))
        options: dict[str, Any] = {
            "dtype": {"default": number, **dict.fromkeys(family(kind).get("fp32", ()), torch.float32)}
        }
        identity = {"revision": revision_of(folder), "dtype": str(number).split(".")[-1]}
        name = str(name_or_path)
        load = diffusers.DiffusionPipeline
        try:
            if motion_adapter is not None:
                if kind not in ANIMATED:
                    raise UsageError(f"{name_or_path}: a motion adapter goes with {' or '.join(ANIMATED)}, not {kind}")
                load = getattr(diffusers, ANIMATED[kind])
                adapter = find_folder(diffusers.DiffusionPipeline, motion_adapter, None, "config.json")
                options["motion_adapter"] = diffusers.MotionAdapter.from_pretrained(adapter, dtype=number)
                identity["adapter_revision"] = revision_of(adapter)
                name = f"{name} with {motion_adapter}"
            pipeline = load.from_pretrained(folder, **options)
        except UsageError:
            raise
        except LOAD_ERRORS as error:
            raise ModelError(f"{name_or_path}: diffusers cannot load it as {kind} ({error})") from error
        pipeline.set_progress_bar_config(disable=True)
        if offload:
            pipeline.enable_model_cpu_offload(device=place)
        else:
            pipeline.to(place)
        return cls(pipeline, settings or Settings(), identity, name)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides, with prompt and seed, what is rendered, as JSON; versions of libraries apart."""
        return dict(self._identity)

    def render(self, prompt: str, seed: int) -> Pixels:
        """The video of a prompt: uint8, (T, H, W, 3). Equal seeds give equal videos on equal machines.

        Raises:
            ModelError: what the pipeline returned is no video.
        """
        generator = torch.Generator("cpu").manual_seed(seed)
        return to_pixels(self.pipeline(prompt=prompt, generator=generator, **self._arguments))

    def _value(self, takes: Mapping[str, inspect.Parameter], setting: str) -> Any:
        """What a setting is: as given, or the pipeline's default; None where it decides while it runs."""
        name = next((name for name in NAMES[setting] if name in takes), "")
        return self._arguments.get(name, takes[name].default if name else None)


def versions() -> dict[str, str]:
    """Versions of what renders."""
    return {"mova": __version__, **{name: metadata.version(name) for name in VERSIONS}}


@cache
def _families() -> dict[str, dict[str, Any]]:
    text = resources.files("mova.text_to_video").joinpath("generators.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return loaded


def family(kind: str) -> dict[str, Any]:
    """What `generators.yaml` says of a class of pipelines."""
    names = [name for name in _families() if kind.startswith(name)]
    return _families()[max(names, key=len, default="default")]


def find_folder(pipelines: Any, name_or_path: str | Path, revision: str | None, index: str) -> Path:
    """The local folder of a pipeline or adapter: as it is, from the hub's cache, or from the hub, in this order.

    Args:
        pipelines: diffusers' `DiffusionPipeline`.
        name_or_path: a folder or a hub name.
        revision: on the hub.
        index: the file that the folder must hold.

    Raises:
        ModelError: it is nowhere.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise UsageError(f"{folder}: a revision is for hub names; a folder has only what it holds")
        if not (folder / index).is_file():
            raise ModelError(f"{folder}: holds no {index}, so it is no folder that diffusers has saved")
        return folder
    try:
        return _fetched(pipelines, str(name_or_path), revision, index)
    except FETCH_ERRORS as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{name_or_path}: there is no such folder, and the hub does not give it ({cause}). Check the spelling, or "
            f"download the whole repository on a machine with network and name its folder here"
        ) from error


def _fetched(pipelines: Any, name: str, revision: str | None, index: str) -> Path:
    """A snapshot of the hub; the cache answers first, without network."""
    from huggingface_hub import snapshot_download

    fetch = pipelines.download if index == "model_index.json" else snapshot_download
    try:
        return Path(fetch(name, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        return Path(fetch(name, revision=revision))


def revision_of(folder: Path) -> str:
    """The commit of a snapshot of the hub; for other folders a hash of all files, which reads them once."""
    if folder.parent.name == "snapshots" and _COMMIT.match(folder.name):
        return folder.name
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {content_hash(path)}\n".encode())
    return digest.hexdigest()


def _arguments(kind: str, takes: Mapping[str, inspect.Parameter], settings: Settings) -> dict[str, Any]:
    """The arguments of a call besides prompt and generator."""
    needed = [
        name
        for name, each in takes.items()
        if name != "prompt" and each.default is each.empty and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    ]
    if "prompt" not in takes or needed or not any(name in takes for name in NAMES["frames"]):
        wants = f"wants {', '.join(needed)}" if needed else "has no frames, or takes no prompt"
        raise ModelError(f"{kind} makes no videos from text alone: it {wants}")
    found = {"output_type": "np"} if "output_type" in takes else {}
    for setting, names in NAMES.items():
        value = getattr(settings, setting)
        name = next((name for name in names if name in takes), None)
        if value is not None and name is not None:
            found[name] = value
        elif value is not None and setting != "fps":
            raise UsageError(f"{kind} has no setting like --{setting}")
    unknown = settings.options.keys() - takes.keys()
    if unknown or settings.options.keys() & {"prompt", "generator", "output_type"}:
        listed = ", ".join(name for name in takes if name not in ("prompt", "generator", "output_type"))
        raise UsageError(
            f"{kind} has no option {', '.join(sorted(unknown)) or 'for what is set here'}; it has {listed}"
        )
    return found | dict(settings.options)


def _own_rate(takes: Mapping[str, inspect.Parameter]) -> float | None:
    """The default of a pipeline's own frame rate."""
    found = [takes[name].default for name in NAMES["fps"] if name in takes]
    return next((float(value) for value in found if isinstance(value, int | float)), None)


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise ModelError("rendering needs diffusers, which is not installed; pip install 'mova[t2v]'") from error
    return diffusers
