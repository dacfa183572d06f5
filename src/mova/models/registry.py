"""Load any model, by its name or folder."""

from __future__ import annotations

import os
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import torch

from mova.errors import ModelError, UsageError
from mova.models.encoder import DualEncoder
from mova.models.families import FAMILIES, family_of_folder, foreign_family
from mova.models.hub import UnreachableError, find_checkpoint, read_json
from mova.models.judges.plugin import find_plugin, load_plugin
from mova.models.known import MODELS, Entry, require_known, without_hub
from mova.models.precision import choose_device, choose_dtype
from mova.models.relations.basis import Relations
from mova.utils.defaults import source_of

if TYPE_CHECKING:
    from mova.models.entailment import EntailmentModel
    from mova.models.judges.base import FigureJudge


def with_defaults(precision: str, device: str | torch.device | None) -> tuple[str, str | torch.device | None]:
    """Return precision and device; where they are left to mova, those of MOVA_PRECISION and MOVA_DEVICE, if set.

    Example:
        >>> with_defaults("fp32", "cpu")
        ('fp32', 'cpu')
    """
    chosen = os.environ.get("MOVA_PRECISION") or "auto" if precision == "auto" else precision
    return chosen, os.environ.get("MOVA_DEVICE") or None if device is None else device


def _placement(precision: str, device: str | torch.device | None) -> tuple[str, torch.device]:
    """Return the precision and the device of a model; an error names the setting that a value comes from.

    Raises:
        UsageError: an unknown precision or device.
    """
    chosen, place = with_defaults(precision, device)
    try:
        target = choose_device(place)
    except UsageError as error:
        if place != device:
            raise UsageError(f"{error} ({source_of('MOVA_DEVICE')})") from error
        raise
    try:
        choose_dtype(chosen, target)
    except UsageError as error:
        if chosen != precision:
            raise UsageError(f"{error} ({source_of('MOVA_PRECISION')})") from error
        raise
    return chosen, target


def _placed(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of a video LLM with the precision and the device of the environment, where they are left to mova.

    Raises:
        UsageError: an unknown precision or device.
    """
    precision = options.get("precision") or "auto"
    if options.get("device_map") is not None:
        return options | {"precision": with_defaults(precision, None)[0]}
    precision, device = _placement(precision, options.get("device"))
    return options | {"precision": precision, "device": device}


def load(name_or_path: str | Path, *, precision: str = "auto", device: str | torch.device | None = None) -> DualEncoder:
    """Load a model, ready to encode. It is the requested one or an error, never another one.

    Args:
        name_or_path: a folder (saved by mova, or in the Hub's layout), a name in `MODELS`, or the Hub name of any dual
            encoder that transformers loads.
        precision: "fp32", "bf16", or "auto": that of the environment variable MOVA_PRECISION if it is set, else bf16
            where the hardware multiplies it natively. With "auto", an exported image tower in the folder is used where
            `mova models export` measured that it is faster.
        device: where the model runs; default: MOVA_DEVICE if it is set, else a GPU if there is one.

    Raises:
        ModelError: the model cannot be found or is not a dual encoder; the message says how to get weights by hand.
        UsageError: an unknown precision or device.

    >>> model = load("mova-worlds-tiny", device="cpu")
    >>> model.encode_text("a small orange crescent").pooled.shape
    torch.Size([1, 192])
    """
    precision, target = _placement(precision, device)
    entry = MODELS.get(str(name_or_path))
    if entry is not None and entry.in_package and not Path(name_or_path).is_dir():
        return _load_packaged(entry, precision, target)
    if entry is not None and entry.load_function is not None and not Path(name_or_path).is_dir():
        return resolve_name(entry.load_function)(precision, target)
    require_known(name_or_path)
    try:
        folder = find_checkpoint(name_or_path)
    except UnreachableError as error:
        raise UnreachableError(error.name, error.cause, without_hub()) from error
    family = family_of_folder(folder)
    if family is not None:
        model: DualEncoder = family.model_class().from_pretrained(str(folder), precision=precision, device=target)
        model.relations = model.relations or Relations.read(Path(folder))
        if precision == "auto" and family.attach is not None:
            resolve_name(family.attach)(model, Path(folder))
        return model
    load_foreign = foreign_family(folder).load_foreign
    assert load_foreign is not None
    return resolve_name(load_foreign)(name_or_path, precision=precision, device=target)


def load_same(name: str, fingerprint: str) -> DualEncoder:
    """Load a model on a node of a cluster, and see that it is the one that another node has under this name.

    Raises:
        ModelError: it is another one, or it cannot be loaded.

    >>> load_same("mova-worlds-tiny", "another")
    Traceback (most recent call last):
        ...
    mova.errors.ModelError: mova-worlds-tiny: on a node of the cluster this is another model than here ...
    """
    model = load(name)
    if model.fingerprint() != fingerprint:
        raise ModelError(
            f"{name}: on a node of the cluster this is another model than here (its fingerprint differs); give all "
            "nodes the same folder, or the same version of the model"
        )
    return model


def configure(name_or_path: str | Path, folder: str | Path, **settings: Any) -> Path:
    """Save a model with other settings than its checkpoint has, in a folder for `load`.

    Args:
        name_or_path: a name on the Hub, or a folder in its layout.
        folder: created if it is missing; it must be empty.
        settings: of the family, such as `width` and `instruction`; those that are None keep their values.

    Raises:
        ModelError: the model cannot be found or loaded.
        UsageError: its family has no settings, a value is out of range, or the folder is not empty.

    >>> folder = configure("tiny-vl-embedding", "small", width=16, instruction="Find the video.")  # random weights
    >>> load(folder).embedding_dim
    16
    """
    target = Path(folder).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target}: exists and is not an empty folder; choose another name")
    source = find_checkpoint(name_or_path)
    family = family_of_folder(source) or foreign_family(source)
    if family.configure is None:
        able = ", ".join(known.title for known in FAMILIES.values() if known.configure is not None)
        raise UsageError(f"{name_or_path}: is a {family.title}, which has no settings to change; {able} has")
    chosen = {name: value for name, value in settings.items() if value is not None}
    resolve_name(family.configure)(name_or_path, **chosen).save_pretrained(target)
    return target


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

    Without a precision or a device, MOVA_PRECISION and MOVA_DEVICE count, as for `load`.

    Raises:
        ModelError: it cannot be found or loaded.
        UsageError: an option that does not exist, or that this machine cannot serve.

    >>> model = load_video_llm("tiny-video-llm", max_frames=2)
    >>> len(model.sample("film.mp4"))
    2
    """
    plugin = find_plugin(name_or_path)
    if plugin is not None:
        return load_plugin(name_or_path, plugin, **options)
    load_foreign = FAMILIES["video-llm"].load_foreign
    assert load_foreign is not None
    return resolve_name(load_foreign)(name_or_path, **_placed(options))


JUDGES = {
    "instructblip": "mova.models.judges.instruct_blip:InstructBlipJudge.from_pretrained",
    "clip_t5": "mova.models.judges.clip_t5:ClipT5Judge.from_pretrained",
}
"""`model_type` -> what loads image models that are not video LLMs."""


def load_judge(name_or_path: str | Path, **options: Any) -> EntailmentModel | FigureJudge:
    """Load a model that judges single images: InstructBLIP, CLIP-FlanT5, any video or image LLM, or a plug-in.

    Args:
        name_or_path: a folder, a name on the Hub, or a name of `mova.models.judges.plugin`.
        options: `precision`, `device`, `device_map` and `quantise`, as for `VideoLLM.from_pretrained`.

    Raises:
        ModelError: it cannot be found or loaded.
        UsageError: an option that it does not support.

    >>> import numpy as np
    >>> load_judge("tiny-video-llm").figure_scores([np.zeros((32, 32, 3), np.uint8)], ["A dog runs."]).shape
    torch.Size([1, 1])
    """
    if find_plugin(name_or_path) is None and not (Path(name_or_path) / "adapter_config.json").is_file():
        kind = str(read_json(find_checkpoint(name_or_path) / "config.json").get("model_type"))
        if kind in JUDGES:
            return resolve_name(JUDGES[kind])(name_or_path, **_placed(options))
    return load_video_llm(name_or_path, **options)


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
    plugin = find_plugin(name_or_path)
    if plugin is not None:
        return load_plugin(name_or_path, plugin, **options)
    require_known(name_or_path)
    known = str(name_or_path) in MODELS and not Path(name_or_path).is_dir()
    recognizing = () if known else (family for family in FAMILIES.values() if family.recognizes is not None)
    family = next((one for one in recognizing if resolve_name(str(one.recognizes))(name_or_path)), None)
    if family is FAMILIES["video-llm"]:
        return load_video_llm(name_or_path, **options)
    if unknown := options.keys() - {"precision", "device"}:
        raise UsageError(f"{name_or_path}: is a dual encoder; {', '.join(sorted(unknown))} is for video LLMs only")
    return load(name_or_path, **options)
