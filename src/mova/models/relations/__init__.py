"""Similarity of two moments in one respect: concepts, their words, and the learned basis."""
