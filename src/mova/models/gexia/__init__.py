"""GEXIA: iterative approximation of long videos and texts, around a two-tower backbone."""
