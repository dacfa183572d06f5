"""GEXIA on Worlds: what granularity expansion and iterative approximation contribute."""
