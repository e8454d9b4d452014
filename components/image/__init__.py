"""Pixels of pictures, as vision encoders take them."""
