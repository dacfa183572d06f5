"""The web page and HTTP API over an index: search, players, alignment, jobs."""
