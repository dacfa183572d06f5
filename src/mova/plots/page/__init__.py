"""One self-contained HTML page of moments: thumbnails, evidence, and a player."""
