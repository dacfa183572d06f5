"""Timelines in the formats of players, spreadsheets and editors."""
