"""The family of models of sentence-transformers."""

from mova.models.family import ModelFamily
from mova.models.hub import MODULES

SENTENCE_TRANSFORMER = ModelFamily(
    name="sentence-transformers",
    title="sentence-transformers model",
    model="mova.models.sentence_transformer.model:SentenceEncoder",
    build="mova.models.sentence_transformer.build:SentenceEncoderBuild",
    model_type="mova-sentence-transformers",
    is_backbone=True,
    input_adapter="mova.models.sentence_transformer.inputs:input_adapter",
    open_tower="mova.models.sentence_transformer.build:refuse_maps",
    foreign_file=MODULES,
    recognizes="mova.models.sentence_transformer.checkpoints:is_sentence_transformer",
    load_foreign="mova.models.sentence_transformer.model:SentenceEncoder.from_checkpoint",
    load_kept="mova.models.sentence_transformer.model:SentenceEncoder.from_kept_files",
    configure="mova.models.sentence_transformer.model:SentenceEncoder.read",
)
