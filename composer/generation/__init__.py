"""Decoding apart from any model: sampling, stop rules, streamed text, the engine."""
