"""Speed and memory, one file per benchmark."""
