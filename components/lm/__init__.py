"""Language models in folders of mlx-lm, whatever runs them: headers, prompts, kept caches."""
