"""The small model that ships with mova, for Worlds only."""
