"""What checkpoints say of networks: configs, tensor names, packing and adapters; no backend."""
