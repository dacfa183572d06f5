"""One trainer for pairs of video and text, on top of transformers.Trainer."""
