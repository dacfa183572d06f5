"""The files of an index: tables, records, checksums, damage, and what it was made from."""
