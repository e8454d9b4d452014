"""Measure how fast a bundle starts and runs, in processes of its own (above runtime)."""
