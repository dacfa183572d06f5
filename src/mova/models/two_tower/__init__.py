"""Two-tower models: CLIP, SigLIP and SigLIP 2 checkpoints."""
