"""Saliency maps, subset weights and key frames: why a score is what it is."""
