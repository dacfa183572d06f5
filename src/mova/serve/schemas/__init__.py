"""The documents of the API: what clients send and get, one file per kind of thing."""
