"""The family of models that find natural footage by ImageNet classes."""

from mova.models.family import ModelFamily

NATURAL = ModelFamily(
    name="natural",
    title="Natural footage by class names",
    model="mova.models.natural.model:Natural",
    build="mova.models.natural.build:NaturalBuild",
    open_tower="mova.models.natural.tower_access:open_tower",
    attach="mova.models.natural.image_export:attach_image_tower",
    export_images="mova.models.natural.image_export:export_images",
    export_text="mova.models.natural.text_export:export_text",
    model_type="mova-natural",
)
