"""Watch a file of weights that is read while a bundle runs."""

from __future__ import annotations

import os
from pathlib import Path
from weakref import finalize

from composer.core.errors import ComposerError, Problem
from composer.core.location import Location


class WatchedFile:
    """An open file that must stay as it is, watched by its descriptor.

    Another file of that name is none of it. `hint` says what to do when it was written.
    """

    def __init__(self, file: Location, hint: str = "load the bundle again") -> None:
        assert isinstance(file.path, Path)
        self.file = file
        self.hint = hint
        self.descriptor = os.open(file.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        finalize(self, os.close, self.descriptor)
        self.before = os.fstat(self.descriptor)

    def require_unchanged(self) -> None:
        """Raise R530 if it was written since, though its time was set back."""
        before, now = self.before, os.fstat(self.descriptor)
        same = (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        if not (same and (now.st_ctime_ns == before.st_ctime_ns or self._lost_its_name(now))):
            raise self.changed()

    def _lost_its_name(self, now: os.stat_result) -> bool:
        """Return whether the name is another file's now: that moves the time of its change too."""
        assert self.file.path
        try:
            return not os.path.samestat(now, self.file.path.stat())
        except OSError:
            return True

    def changed(self) -> ComposerError:
        """Return the error for a file that was written."""
        message = f"{self.file}: changed while it was being read"
        return ComposerError(Problem("R530", message, hint=self.hint))

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes; raise R530 where it ends before them, since it was cut."""
        found = bytearray()
        while len(found) < length:
            more = os.pread(self.descriptor, length - len(found), offset + len(found))
            if not more:
                raise self.changed()
            found += more
        return bytes(found)
