"""Bundles that authors who had only the documentation would write, and their mistakes."""
