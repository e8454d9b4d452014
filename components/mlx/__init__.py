"""Components on MLX; each imports MLX when it is loaded, never before."""
