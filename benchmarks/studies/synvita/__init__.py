"""SynViTA on Worlds: the contribution of synthetic videos and their weights."""
