"""Captions to sentences and units, summaries, and clients of language models."""
