"""Convert published checkpoints to the files that bundles use."""
