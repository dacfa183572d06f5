"""Figures as PNG or HTML: timelines, saliency, subsets, expansion statistics, generator agreement."""
