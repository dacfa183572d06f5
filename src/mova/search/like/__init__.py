"""Search by example: a moment of a video, or a picture."""
