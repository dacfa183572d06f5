"""A model of natural footage without training on videos: ImageNet classes, placed among sentences."""
