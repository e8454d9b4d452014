"""Convert a checkpoint's config.json to the keys that the installed mlx-lm reads."""
