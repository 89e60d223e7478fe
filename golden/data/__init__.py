"""Data sets: files to clips, clips to training examples; the built-in set and the baselines on any."""
