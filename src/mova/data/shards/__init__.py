"""Videos inside shards: members of tar files (WebDataset) and rows of Lance tables, addressed by paths."""
