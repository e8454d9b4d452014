"""A temporary folder that goes with the last who holds it."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from weakref import finalize


class PrivateFolder:
    """A folder that nobody else reads, removed by `remove`, or at the end of the process."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="composer-"))
        self.remove = finalize(self, rmtree, self.path, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """Return what makes it the temporary folder of a child, which may be killed at any time."""
        return {"TMPDIR": str(self.path)}
