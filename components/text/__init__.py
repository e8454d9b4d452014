"""Prompts, conversations and answers, with a tokenizer that user text cannot forge tokens of."""
