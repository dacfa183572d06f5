"""Hard negative captions: one detail of a true caption changed."""
