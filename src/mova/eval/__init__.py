"""Metrics on plain arrays, and the tasks around them."""
