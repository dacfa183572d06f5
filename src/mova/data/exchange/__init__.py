"""Manifests in the formats of other tools, and back: Hugging Face datasets, FiftyOne."""
