"""The videos of the index by id, folders that may be added, and jobs that index them."""
