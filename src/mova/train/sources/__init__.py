"""Data sources of training: pairs, labelled videos and triplets."""
