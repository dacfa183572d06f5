"""The family of models with mask networks around a backbone."""

from mova.models.family import ModelFamily

MOVA = ModelFamily(
    name="mova",
    title="MoVA",
    model="mova.models.mova.model:Mova",
    build="mova.models.mova.build:MovaBuild",
    model_type="mova",
)
