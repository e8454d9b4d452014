"""Hostile cases for benchmarks/hostile.py, which measures each in a process of its own."""
