"""Train a model from a recipe."""
