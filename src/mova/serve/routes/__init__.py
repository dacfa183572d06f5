"""The addresses of the service, one file per kind of thing."""
