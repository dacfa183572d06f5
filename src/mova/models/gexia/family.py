"""The family of models with iterative approximation around a backbone."""

from mova.models.family import ModelFamily

GEXIA = ModelFamily(
    name="gexia",
    title="GEXIA",
    model="mova.models.gexia.model:Gexia",
    build="mova.models.gexia.build:GexiaBuild",
    input_adapter="mova.models.gexia.inputs:input_adapter",
    open_tower="mova.models.gexia.tower_access:open_tower",
    model_type="mova-gexia",
)
