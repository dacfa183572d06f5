"""Objects of object storage, named by URI: list them, read them in part."""
