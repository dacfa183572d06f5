"""Protocols, reports and comparisons of retrieval, localisation and classification."""
