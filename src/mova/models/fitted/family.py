"""The family of encoders with a fitted map of frame vectors."""

from mova.models.family import ModelFamily

FITTED = ModelFamily(
    name="fitted",
    title="Encoder with a fitted map",
    model="mova.models.fitted.model:Fitted",
    build="mova.models.fitted.build:FittedBuild",
    open_tower="mova.models.fitted.tower_access:open_tower",
    export_text="mova.models.fitted.text_export:export_text",
    model_type="mova-fitted",
)
