"""Encode the videos of a manifest once, and use the stored frame vectors instead of decoding."""
