"""From files on disk to batches: sampling, decoding, texts, manifests, Worlds."""
