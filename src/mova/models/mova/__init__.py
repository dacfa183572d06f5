"""MoVA: temporal masks from text and concept masks from video, around a two-tower backbone."""
