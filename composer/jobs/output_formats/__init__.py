"""Output formats of transcripts, one a file."""
