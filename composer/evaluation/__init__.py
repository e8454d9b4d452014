"""Measure how well a bundle transcribes: error rates that say how they came about."""
