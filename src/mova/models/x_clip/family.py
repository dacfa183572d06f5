"""The family of X-CLIP models."""

from mova.models.family import ModelFamily

X_CLIP = ModelFamily(
    name="x-clip",
    title="X-CLIP",
    model="mova.models.x_clip.model:XClip",
    build="mova.models.x_clip.build:XClipBuild",
    input_adapter="mova.models.x_clip.build:input_adapter",
    open_tower="mova.models.x_clip.build:refuse_windows",
    export_text="mova.models.x_clip.text_export:export_text",
    model_type="mova-x-clip",
    is_backbone=True,
    foreign_type="xclip",
    load_foreign="mova.models.x_clip.model:XClip.from_checkpoint",
)
