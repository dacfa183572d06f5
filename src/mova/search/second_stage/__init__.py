"""Another model that is asked about the first moments of a search, and the mixing of both scores."""
