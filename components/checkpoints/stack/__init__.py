"""Stacks of layers: what their config says, and their tensors."""
