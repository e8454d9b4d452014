"""The blocks in NumPy: the readable reference that the other backends are compared with."""
