"""MoVA's identifiability theory, tested on a simulated world."""
