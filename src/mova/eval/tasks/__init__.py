"""Evaluate a model on one split of a manifest."""
