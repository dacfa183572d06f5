"""Reproduce published figures: convert data, train, evaluate, and compare by equal forms."""
