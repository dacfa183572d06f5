"""Search without loading the model or the tables: a snapshot of the vectors and an exported text tower."""
