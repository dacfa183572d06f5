"""Compute metrics from plain arrays."""
