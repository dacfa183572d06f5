"""Arguments, tables and result files that all benchmarks share."""
