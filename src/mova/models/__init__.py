"""Towers, heads and scores: everything that turns frames and texts into vectors."""
