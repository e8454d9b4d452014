"""Find a bundle and its files: by path, shipped name, Hub ID, lock (above manifest)."""
