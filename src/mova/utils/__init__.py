"""Files, locks, hashes and time formats that no other folder owns."""
