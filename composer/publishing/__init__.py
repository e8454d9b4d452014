"""Publish a bundle: its lock, licences, model card and upload."""
