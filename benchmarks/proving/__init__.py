"""The parts of `benchmarks/proving_ground.py`."""
