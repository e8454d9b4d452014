"""Read checkpoints' configs, tensor names, packing and adapters; no backend (lowest level)."""
