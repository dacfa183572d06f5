"""Run any text-to-video pipeline of diffusers as a function of prompt and seed.

`TextToVideo` loads everything that `DiffusionPipeline.from_pretrained` loads (CogVideoX, Wan, LTX, HunyuanVideo, ...),
and image models with a motion adapter (AnimateDiff). Another model's text encoder may take the place of the pipeline's
(`mova.text_to_video.guide`). Settings are mapped to the pipeline's own argument names; settings
that it does not have raise an error before anything is rendered. Needs the extra `t2v`.

Shape legend: T frames, H height, W width (pixels).
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch
import yaml

from mova._version import __version__
from mova.errors import ModelError, UsageError, refuse_code
from mova.models.hub import NETWORK_ERRORS, read_json
from mova.models.precision import choose_device, choose_dtype
from mova.text_to_video.guide import Guided, TextGuide, guide, require_replaceable
from mova.text_to_video.output_frames import to_pixels, to_videos
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
"""Argument names of each setting in diffusers pipelines."""
ANIMATED = {
    "StableDiffusionPipeline": "AnimateDiffPipeline",
    "StableDiffusionXLPipeline": "AnimateDiffSDXLPipeline",
}
"""Video pipeline for each image pipeline, with a motion adapter (Guo et al. 2024, arXiv 2307.04725)."""
VERSIONS = ("diffusers", "transformers", "torch")
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
LOAD_ERRORS = (OSError, ValueError, ImportError, RuntimeError, AttributeError, KeyError, TypeError)
"""Exceptions that diffusers raises for folders without a complete pipeline."""
FETCH_ERRORS: tuple[type[BaseException], ...] = (*NETWORK_ERRORS, OSError, ValueError)
"""Exceptions that the hub client raises for unavailable names and revisions."""


@dataclass(frozen=True)
class Settings:
    """Render settings; None means the pipeline's default.

    Attributes:
        frames: frames per video.
        fps: frames per second of the file, and of the pipeline if it has such an argument.
        height, width: pixels.
        steps: denoising steps.
        guidance: scale of classifier-free guidance.
        options: further arguments of the pipeline by name, such as `negative_prompt`.
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
        pipeline: a diffusers pipeline on its device.
        settings: see `Settings`.
        identity: everything else that determines the output: revision of the weights, data type.
        name: display name.
        guided: what `guide` changed in the pipeline; None if it has its own text encoder.

    Raises:
        UsageError: the pipeline does not have one of the settings.
        ModelError: the pipeline does not render videos, or needs more inputs than a text.

    >>> class Gray:  # in the place of a pipeline
    ...     def __call__(self, prompt, num_frames=4, generator=None):
    ...         return (torch.full((1, num_frames, 8, 8, 3), 0.5),)
    >>> TextToVideo(Gray(), Settings(frames=6), {}).render("A dog runs.", seed=0).shape
    (6, 8, 8, 3)
    """

    def __init__(
        self,
        pipeline: Any,
        settings: Settings,
        identity: Mapping[str, Any],
        name: str = "unnamed",
        guided: Guided | None = None,
    ) -> None:
        self.pipeline, self.name, self.guided = pipeline, name, guided
        kind = type(pipeline).__name__
        parameters = inspect.signature(pipeline.__call__).parameters
        if guided is not None:
            settings = _within(parameters, settings, guided.length)
            identity = {**identity, "text_encoder": guided.identity()}
        self._arguments = _arguments(kind, parameters, settings)
        self.fps = float(settings.fps or _default_rate(parameters) or family(kind)["fps"])
        values = {name: self._value(parameters, name) for name in ("frames", "steps", "guidance")}
        self._identity = {**identity, "pipeline": kind, **values, "fps": self.fps, "arguments": self._arguments}

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
        text_guide: TextGuide | None = None,
    ) -> TextToVideo:
        """Load a pipeline.

        Args:
            name_or_path: a folder in the diffusers layout, or a hub name.
            settings: see `Settings`.
            revision: branch, tag or commit on the hub.
            motion_adapter: folder or hub name of an AnimateDiff adapter, for Stable Diffusion image models.
            device: device to run on (default: a GPU if available).
            dtype: "fp32", "bf16", "fp16" or "auto"; components that need float32 keep it.
            offload: keep only the active component on the GPU.
            text_guide: a model whose text encoder takes the place of the pipeline's.

        Raises:
            ModelError: diffusers is not installed, the pipeline cannot be found or loaded, or its text encoder cannot
                be replaced.
            UsageError: unknown or incompatible options.
        """
        diffusers = _diffusers()
        target = choose_device(device)
        precision = torch.float16 if dtype == "fp16" else choose_dtype(dtype, target)
        if offload and target.type == "cpu":
            raise UsageError("--offload needs a GPU: on a CPU the whole pipeline is in memory anyway")
        folder = find_folder(diffusers.DiffusionPipeline, name_or_path, revision, "model_index.json")
        index = read_json(folder / "model_index.json")
        kind = str(index.get("_class_name"))
        if motion_adapter is not None and kind not in ANIMATED:
            raise UsageError(f"{name_or_path}: a motion adapter needs {' or '.join(ANIMATED)}, not {kind}")
        if text_guide is not None:
            require_replaceable({part: str(value[1]) for part, value in index.items() if _is_part(value)}, kind)
        identity = {"revision": revision_of(folder), "dtype": str(precision).split(".")[-1]}
        name = str(name_or_path)
        options: dict[str, Any] = {}
        if motion_adapter is not None:
            adapter = find_folder(diffusers.DiffusionPipeline, motion_adapter, None, "config.json")
            identity["adapter_revision"] = revision_of(adapter)
            name, options = f"{name} with {motion_adapter}", {"adapter": adapter}
        pipeline = _load(diffusers, folder, kind, precision, **options)
        guided = None
        if text_guide is not None:
            guided = guide(pipeline, text_guide.model, length=text_guide.length, texts=text_guide.texts)
        if offload:
            pipeline.enable_model_cpu_offload(device=target)
        else:
            pipeline.to(target)
        return cls(pipeline, settings or Settings(), identity, name, guided)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that, with prompt and seed, determines the output, as JSON; library versions are excluded."""
        return dict(self._identity)

    def render(self, prompt: str, seed: int) -> Pixels:
        """Render a prompt as uint8 (T, H, W, 3). On the same machine, equal seeds give equal videos.

        Raises:
            ModelError: the pipeline did not return a video.
        """
        generator = torch.Generator("cpu").manual_seed(seed)
        return to_pixels(self.pipeline(prompt=prompt, generator=generator, **self._arguments))

    def render_many(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Pixels]:
        """Render several prompts in one call of the pipeline, each from its own seed; see `render`.

        The noise of each video is the same as alone. Values may differ in the last bits.
        """
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        return to_videos(self.pipeline(prompt=list(prompts), generator=generators, **self._arguments), len(prompts))

    def _value(self, parameters: Mapping[str, inspect.Parameter], setting: str) -> Any:
        """Return a setting or the pipeline's default; None if the pipeline decides at run time."""
        name = next((name for name in NAMES[setting] if name in parameters), "")
        return self._arguments.get(name, parameters[name].default if name else None)


def _load(diffusers: Any, folder: Path, kind: str, precision: torch.dtype, adapter: Path | None = None) -> Any:
    """Load a pipeline of class `kind` from a folder, with a motion adapter if there is one, on the CPU."""
    options: dict[str, Any] = {
        "dtype": {"default": precision, **dict.fromkeys(family(kind).get("fp32", ()), torch.float32)}
    }
    load = diffusers.DiffusionPipeline
    try:
        with refuse_code(folder):
            if adapter is not None:
                load = getattr(diffusers, ANIMATED[kind])
                options["motion_adapter"] = diffusers.MotionAdapter.from_pretrained(adapter, dtype=precision)
            pipeline = load.from_pretrained(folder, trust_remote_code=False, **options)
    except LOAD_ERRORS as error:
        raise ModelError(f"{folder}: diffusers cannot load it as {kind} ({error})") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _is_part(value: Any) -> bool:
    """Return whether an entry of model_index.json is a component: a library and a class, not null."""
    return isinstance(value, list) and len(value) == 2 and value[1] is not None


def _within(parameters: Mapping[str, inspect.Parameter], settings: Settings, length: int) -> Settings:
    """Return settings in which a pipeline that chooses the number of tokens itself asks for at most `length`."""
    default = parameters["max_sequence_length"].default if "max_sequence_length" in parameters else None
    if not isinstance(default, int) or default <= length or "max_sequence_length" in settings.options:
        return settings
    return replace(settings, options={**settings.options, "max_sequence_length": length})


def versions() -> dict[str, str]:
    """Return the versions of mova and the libraries that render."""
    return {"mova": __version__, **{name: metadata.version(name) for name in VERSIONS}}


@cache
def _families() -> dict[str, dict[str, Any]]:
    text = resources.files("mova.text_to_video").joinpath("generators.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return loaded


def family(kind: str) -> dict[str, Any]:
    """Return the entry of `generators.yaml` for a pipeline class, matched by prefix.

    Example:
        >>> sorted(family("WanPipeline"))
        ['fp32', 'fps']
    """
    names = [name for name in _families() if kind.startswith(name)]
    return _families()[max(names, key=len, default="default")]


def find_folder(pipelines: Any, name_or_path: str | Path, revision: str | None, index: str) -> Path:
    """Return the local folder of a pipeline or adapter, from disk, the hub's cache or the hub, in this order.

    Args:
        pipelines: the class `DiffusionPipeline` of diffusers.
        name_or_path: a folder or a hub name.
        revision: revision on the hub.
        index: the file that the folder must contain.

    Raises:
        ModelError: it cannot be found.
        UsageError: a revision of a local folder.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise UsageError(f"{folder}: a revision applies to hub names only, not to a local folder")
        if not (folder / index).is_file():
            raise ModelError(f"{folder}: has no {index}, so it is not a folder saved by diffusers")
        return folder
    try:
        return _fetched(pipelines, str(name_or_path), revision, index)
    except FETCH_ERRORS as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{name_or_path}: no such folder, and not available from the hub ({cause}). Check the spelling, or "
            f"download the whole repository on a machine with network access and pass its folder"
        ) from error


def _fetched(pipelines: Any, name: str, revision: str | None, index: str) -> Path:
    """Return a snapshot from the hub; the local cache is tried first, without network."""
    from huggingface_hub import snapshot_download

    fetch = pipelines.download if index == "model_index.json" else snapshot_download
    try:
        return Path(fetch(name, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        return Path(fetch(name, revision=revision))


def revision_of(folder: Path) -> str:
    """Return the commit of a hub snapshot; for other folders, a hash of the content of all files."""
    if folder.parent.name == "snapshots" and _COMMIT.match(folder.name):
        return folder.name
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {content_hash(path)}\n".encode())
    return digest.hexdigest()


def _arguments(kind: str, parameters: Mapping[str, inspect.Parameter], settings: Settings) -> dict[str, Any]:
    """Return the arguments of a call besides prompt and generator."""
    required = [
        name
        for name, parameter in parameters.items()
        if name != "prompt"
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    if "prompt" not in parameters or required or not any(name in parameters for name in NAMES["frames"]):
        reason = f"needs {', '.join(required)}" if required else "has no number of frames, or no prompt"
        raise ModelError(f"{kind} cannot render videos from text alone: it {reason}")
    arguments = {"output_type": "np"} if "output_type" in parameters else {}
    for setting, names in NAMES.items():
        value = getattr(settings, setting)
        name = next((name for name in names if name in parameters), None)
        if value is not None and name is not None:
            arguments[name] = value
        elif value is not None and setting != "fps":
            raise UsageError(f"{kind} has no setting for --{setting}")
    reserved = ("prompt", "generator", "output_type")
    unknown = settings.options.keys() - parameters.keys()
    if unknown or settings.options.keys() & set(reserved):
        listed = ", ".join(name for name in parameters if name not in reserved)
        wrong = ", ".join(sorted(unknown or settings.options.keys() & set(reserved)))
        raise UsageError(f"{kind}: option {wrong} is {'unknown' if unknown else 'reserved'}; it has {listed}")
    return arguments | dict(settings.options)


def _default_rate(parameters: Mapping[str, inspect.Parameter]) -> float | None:
    """Return the pipeline's default frame rate, if it has one."""
    defaults = [parameters[name].default for name in NAMES["fps"] if name in parameters]
    return next((float(value) for value in defaults if isinstance(value, int | float)), None)


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise ModelError("rendering needs diffusers, which is not installed; pip install 'mova[t2v]'") from error
    return diffusers
