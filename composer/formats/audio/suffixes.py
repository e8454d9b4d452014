"""Recognise a clip in a folder by its suffix."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff"})


def is_clip(path: Path) -> bool:
    """Return whether a path is a file whose suffix is that of audio."""
    return path.suffix.lower() in SUFFIXES and path.is_file()
