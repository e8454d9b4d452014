"""A feature extractor and a decoder for composer, as its guide to components has them."""
