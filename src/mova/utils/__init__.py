"""Helpers for files, locks, hashes and time formats."""
