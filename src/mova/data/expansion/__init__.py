"""Granularity expansion: long videos with long and short texts, built from clips."""
