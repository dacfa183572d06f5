"""Find and align: the index, ingestion, queries, timelines."""
