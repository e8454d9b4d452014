"""Load a checked bundle and run it."""
