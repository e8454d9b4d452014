"""Features of waveforms: log-mel as Whisper and USM compute it."""
