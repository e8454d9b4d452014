"""Measure composer: each module prints ratios, or sizes and seconds, of one subject."""
