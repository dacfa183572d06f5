"""Choose which frames near the sampling times are decoded: those that cost least."""
