"""Narrow a search: which videos are searched, and which moments are kept."""
