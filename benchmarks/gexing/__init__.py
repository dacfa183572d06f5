"""The parts of `benchmarks/gexia.py`."""
