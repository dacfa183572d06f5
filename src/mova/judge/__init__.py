"""Whether a video shows what a text says."""
