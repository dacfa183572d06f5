"""Image models that judge whether a frame shows a text: the VQA models of SynViTA's weights."""
