"""Manifests of millions of rows as memory-mapped Arrow tables."""
