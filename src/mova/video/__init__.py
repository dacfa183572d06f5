"""Video files to frames and back, with times from the file itself."""
