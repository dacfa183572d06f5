"""Pictures, clips and plots: made in processes of their own, kept on disk, sent in ranges."""
