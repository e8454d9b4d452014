"""MERaLiON's speech encoder as its checkpoints describe it."""
