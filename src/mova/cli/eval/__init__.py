"""Commands of `mova eval`."""
