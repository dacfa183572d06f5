"""MoVA's identifiability theory on a simulated world."""
