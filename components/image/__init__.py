"""Prepare pictures for vision encoders."""
