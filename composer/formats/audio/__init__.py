"""Audio: a mono waveform, read strictly from a file, bytes or samples."""
