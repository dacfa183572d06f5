"""Pure functions on embeddings: similarity, pooling, caption scores and spans."""
