"""Render captions with text-to-video models, and weight the results for training."""
