"""The family of VideoPrism models."""

from mova.models.family import ModelFamily

VIDEO_PRISM = ModelFamily(
    name="video-prism",
    title="VideoPrism",
    model="mova.models.video_prism.model:VideoPrism",
    build="mova.models.video_prism.build:VideoPrismBuild",
    input_adapter="mova.models.video_prism.build:input_adapter",
    open_tower="mova.models.video_prism.build:refuse_windows",
    model_type="mova-video-prism",
    is_backbone=True,
    foreign_type="videoprism",
    load_foreign="mova.models.video_prism.model:VideoPrism.from_checkpoint",
)
