"""Networks, one architecture a file, in blocks that each backend implements (above checkpoints)."""
