"""SynViTA on Worlds: what synthetic videos and their weights contribute."""
