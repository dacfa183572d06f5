"""Scoring heads on a two-tower backbone that MoVA is compared with."""
