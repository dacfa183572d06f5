"""Objectives as pure functions on embeddings."""
