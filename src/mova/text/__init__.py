"""Split captions into sentences and units, summarize them, and query language models."""
