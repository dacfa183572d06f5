"""Models of sentence-transformers with image or video input, loaded without running code or pickles."""
