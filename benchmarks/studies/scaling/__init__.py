"""Scaling of MoVA on Worlds: epochs, sizes of the backbone, and the weight of the global loss."""
