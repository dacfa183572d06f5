"""Long runs with damaged files and random stops: what must never happen is counted."""
