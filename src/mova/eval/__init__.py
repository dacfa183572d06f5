"""Protocols, reports and comparisons of retrieval, localization and classification."""
