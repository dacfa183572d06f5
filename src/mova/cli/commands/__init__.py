"""Commands of `mova`, one file per command."""
