"""VideoPrism checkpoints with a text tower: one vector per window of several frames."""
