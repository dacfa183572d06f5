"""Vectors of windows of several frames: the time that each stands for, and finer curves from windows that overlap."""
