"""A miniature of Qwen3-ForcedAligner, which learns the synthesizer's own times of words."""
