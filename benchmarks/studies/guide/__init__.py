"""A small video diffusion model for Worlds, guided by different text encoders."""
