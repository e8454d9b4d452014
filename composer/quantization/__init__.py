"""Write a bundle down with its weights quantized."""
