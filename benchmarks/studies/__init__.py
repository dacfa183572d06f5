"""Experiments that train models, one file or folder per study."""
