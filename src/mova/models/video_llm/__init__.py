"""Video language models that answer whether a caption holds."""
