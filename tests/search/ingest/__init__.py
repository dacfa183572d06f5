"""Tests of adding videos to an index."""
