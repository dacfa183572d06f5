"""Judging and making videos: does it show what the text says?"""
