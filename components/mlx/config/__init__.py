"""A checkpoint's config.json in the spelling that the installed mlx-lm reads."""
