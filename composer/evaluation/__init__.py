"""Measure how well a bundle transcribes: error rates with everything that led to them."""
