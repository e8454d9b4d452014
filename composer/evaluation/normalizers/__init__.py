"""Normalisers: named and versioned rules that make texts comparable, one per file."""
