"""Networks, one architecture a file, written with blocks that each backend implements."""
