"""Add videos to an index: plan, decode, encode, write; here or on a Ray cluster."""
