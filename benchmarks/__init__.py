"""Benchmarks: ratios to a peer or a limit, measured in the same run. Run one with `mova bench NAME`."""
