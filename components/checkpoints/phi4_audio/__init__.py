"""The speech conformer of Phi-4 Multimodal as its checkpoints describe it."""
