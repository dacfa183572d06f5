"""The family of small models for Worlds."""

from mova.models.family import ModelFamily

WORLDS_TINY = ModelFamily(
    name="worlds-tiny",
    title="Worlds model",
    model="mova.models.worlds_tiny.model:WorldsTiny",
    build="mova.models.worlds_tiny.build:WorldsTinyBuild",
    input_adapter="mova.models.worlds_tiny.inputs:input_adapter",
    open_tower="mova.models.worlds_tiny.tower_access:open_tower",
    export_text="mova.models.worlds_tiny.text_export:export_text",
    model_type="mova-worlds-tiny",
    is_backbone=True,
)
