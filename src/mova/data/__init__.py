"""Manifests, their validation, and what training and evaluation read from them."""
