"""Loss functions on embeddings and scores, independent of any model."""
