"""The encoder contract, the registry of families, and parts that families share."""
