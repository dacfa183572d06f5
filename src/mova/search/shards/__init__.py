"""Several indexes of one model, searched side by side as one."""
