"""Parts of `benchmarks/synvita.py`: the world and its generator, its pictures, the decoder, the arms, the tests."""
