"""Train the miniature speech model."""
