"""The family of two-tower models that transformers loads."""

from mova.models.family import ModelFamily

TWO_TOWER = ModelFamily(
    name="two-tower",
    title="two-tower model",
    model="mova.models.two_tower.model:TwoTower",
    build="mova.models.two_tower.build:TwoTowerBuild",
    input_adapter="mova.models.two_tower.inputs:input_adapter",
    open_tower="mova.models.two_tower.tower_access:open_tower",
    attach="mova.models.two_tower.image_tower:attach_image_tower",
    export_images="mova.models.two_tower.image_export:export_images",
    export_text="mova.models.two_tower.text_export:export_text",
    model_type="mova-two-tower",
    is_backbone=True,
    load_foreign="mova.models.two_tower.model:TwoTower.from_checkpoint",
)
