"""Measure generated videos in VBench's manner: consistency, flicker, motion, and agreement with the prompt."""
