"""X-CLIP checkpoints of transformers: one vector per window of several frames."""
