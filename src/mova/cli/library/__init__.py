"""Commands on an index that exists: what is in it, bring it up to date, forget."""
