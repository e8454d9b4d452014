"""Networks, one architecture a file, written over a vocabulary that each backend brings."""
