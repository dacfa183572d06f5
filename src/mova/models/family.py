"""The record that describes one family of models, and the settings that build a member of it for training."""

from __future__ import annotations

from dataclasses import Field, dataclass, fields
from pkgutil import resolve_name
from typing import Any, ClassVar, Protocol


class BuildSettings(Protocol):
    """Settings of section `model` of a recipe, as a frozen dataclass with one field per setting."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def build(self) -> Any:
        """Return a model to train, in float32 on the CPU.

        Raises:
            UsageError: a setting that is unknown or does not fit the source.
            ModelError: the source cannot be found or loaded.
        """
        ...


@dataclass(frozen=True)
class ModelFamily:
    """Everything the package knows about a family of models before one of them is loaded.

    Code is named by path, "package.module:attribute", and imported when it is first used, so that listing the families
    is fast and needs no optional library.

    Attributes:
        name: `model.kind` in recipes.
        title: display name.
        model: the class; `from_pretrained(folder, precision=, device=)` loads a folder that `save_pretrained` wrote.
        build: a dataclass that satisfies `BuildSettings`.
        model_type: `model_type` in `config.json` of a folder that mova saved; None if another library defines the
            format.
        is_backbone: whether models of other families may wrap one of this family.
        recognizes: (name or folder) -> whether this family loads a checkpoint that mova did not save; None if it
            loads none, or all that no other family recognizes.
        foreign_type: `model_type` of checkpoints of transformers that this family loads, in place of `recognizes`.
        foreign_file: a file that checkpoints of this family have, and those of no family with a `foreign_type`.
        load_foreign: (name or folder, precision=, device=) -> model, for such a checkpoint.
        load_kept: (folder, settings) -> model inside a model whose folder keeps its files (`Backbone.keeps_files`).
        input_adapter: (model, stored) -> `InputAdapter`; None for that of the model's backbone.
        open_tower: (model) -> `TowerAccess`; None for that of the model's backbone.
        configure: (name or folder, **settings) -> model that is saved with other settings than its checkpoint has, in
            the precision of its file; None if the family has no such settings.
        attach: (model, folder) -> None: make use of what else is in the folder of a model that was loaded to encode.
        export_images: (model, folder, **options) -> None: save it with its image tower exported; None if it cannot be.
        export_text: (model) -> `TextExport` or None; None if texts cannot be encoded without the whole model.
    """

    name: str
    title: str
    model: str
    build: str
    model_type: str | None = None
    is_backbone: bool = False
    recognizes: str | None = None
    foreign_type: str | None = None
    foreign_file: str | None = None
    load_foreign: str | None = None
    load_kept: str | None = None
    input_adapter: str | None = None
    open_tower: str | None = None
    attach: str | None = None
    export_images: str | None = None
    export_text: str | None = None
    configure: str | None = None

    def model_class(self) -> type[Any]:
        """Import the class of the family's models."""
        model_class = resolve_name(self.model)
        assert isinstance(model_class, type)
        return model_class

    def build_class(self) -> type[BuildSettings]:
        """Import the class of the family's build settings."""
        settings_class = resolve_name(self.build)
        assert isinstance(settings_class, type)
        return settings_class


def explicit_settings(settings: Any, *exclude: str) -> dict[str, Any]:
    """Return the settings that are not None, except those named in `exclude`."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name not in exclude}
    return {name: value for name, value in values.items() if value is not None}
