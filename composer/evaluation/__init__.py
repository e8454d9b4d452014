"""Measure word error rates of a bundle, with all that led to them (above runtime)."""
