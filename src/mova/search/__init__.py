"""Index videos, find moments, align and score captions."""
