"""Qwen3-VL-Embedding checkpoints: texts and windows of frames as prompts with an instruction."""
