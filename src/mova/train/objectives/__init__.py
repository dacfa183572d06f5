"""Training objectives: which losses on which scores."""
