"""Continue token ids with any decoder: sampling, stopping, batching, text (above formats alone)."""
