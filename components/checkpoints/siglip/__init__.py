"""SigLIP's vision tower, and what Gemma 3 has behind it, as their checkpoints describe them."""
