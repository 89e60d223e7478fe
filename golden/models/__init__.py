"""Models to train, one file each."""
