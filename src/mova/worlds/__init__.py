"""Worlds: procedural videos with known events, captions and hard negatives."""
