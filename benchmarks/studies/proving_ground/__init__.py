"""MoVA and its baselines on Worlds, at one budget."""
