"""Decoding that is independent of any model: sampling, stop rules, streamed text, the engine."""
