"""The family of Qwen3-VL-Embedding models."""

from mova.models.family import ModelFamily

QWEN_EMBEDDING = ModelFamily(
    name="qwen-vl-embedding",
    title="Qwen3-VL-Embedding",
    model="mova.models.qwen_embedding.model:QwenEmbedding",
    build="mova.models.qwen_embedding.build:QwenEmbeddingBuild",
    input_adapter="mova.models.qwen_embedding.inputs:input_adapter",
    open_tower="mova.models.qwen_embedding.build:refuse_windows",
    model_type="mova-qwen-embedding",
    is_backbone=True,
    foreign_type="qwen3_vl",
    recognizes="mova.models.qwen_embedding.checkpoints:is_embedding",
    load_foreign="mova.models.qwen_embedding.model:QwenEmbedding.from_checkpoint",
    configure="mova.models.qwen_embedding.model:QwenEmbedding.read",
)
