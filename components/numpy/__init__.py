"""The NumPy backend: the readable reference that others are compared with (above models)."""
