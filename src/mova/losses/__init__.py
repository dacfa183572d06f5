"""Loss functions on embeddings; none of them knows a model."""
