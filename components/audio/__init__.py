"""Features of waveforms."""
