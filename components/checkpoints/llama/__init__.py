"""Llama-shaped decoders (Qwen3, Qwen2, Llama) as their checkpoints describe them."""
