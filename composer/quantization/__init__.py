"""Write a bundle with its weights quantized (above runtime)."""
