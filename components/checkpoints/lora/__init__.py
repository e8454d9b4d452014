"""Low-rank adapters as their files describe them."""
