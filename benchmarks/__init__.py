"""Benchmarks: ratios against a peer or a limit in the same run. Run one with `mova bench NAME`."""
