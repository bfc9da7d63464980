"""Training: the loop, its two drivers, checkpoints, and advice on what goes wrong."""
