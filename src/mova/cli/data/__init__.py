"""Commands of `mova data`."""
