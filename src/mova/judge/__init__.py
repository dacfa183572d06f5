"""Judge whether a video shows what its prompt says, sentence by sentence."""
