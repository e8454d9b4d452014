"""What the keys of a decoder's config.json mean, whichever backend computes it."""
