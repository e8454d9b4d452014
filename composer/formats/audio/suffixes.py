"""Recognise a clip in a folder by its suffix."""

from __future__ import annotations

from pathlib import Path

BY_PYAV = {".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".webm", ".mka", ".wma", ".amr", ".aac", ".caf"}
SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff"} | BY_PYAV)


def is_clip(path: Path) -> bool:
    """Return whether a path is a file whose suffix is that of audio."""
    return path.suffix.lower() in SUFFIXES and path.is_file()
