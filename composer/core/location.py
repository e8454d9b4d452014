"""Name a file or folder of a bundle by its source and its path inside it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Location:
    """A confined path: `repo/mlx/llm` is `mlx/llm` inside the source `repo`, a folder `root`.

    `root` is None where the source is not on this machine; then `path` is None too. `repository`
    is what of the Hub the root is in, whose files need not be here yet; None for other folders.
    """

    source: str
    inside: str
    root: Path | None
    repository: object | None = field(default=None, repr=False, compare=False)

    @property
    def path(self) -> Path | None:
        return None if self.root is None else self.root / self.inside

    def __truediv__(self, name: str) -> Location:
        inside = f"{self.inside}/{name}" if self.inside else name
        return replace(self, inside=inside)

    def __str__(self) -> str:
        return f"{self.source}/{self.inside}" if self.inside else self.source
