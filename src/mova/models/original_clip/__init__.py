"""Checkpoints of CLIP in the layout of its first release (OpenAI, open_clip, CLIP4Clip), converted to the Hub's."""
