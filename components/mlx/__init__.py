"""The MLX backend: blocks, and decoders of mlx-lm (above models). MLX is imported at load."""
