"""Write the pages whose examples build on one another, with what their commands print today."""

from __future__ import annotations

import os
import sys
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.examples import played

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = (
    DOCS / "tutorial.md",
    DOCS / "guides" / "batch.md",
    DOCS / "guides" / "evaluating.md",
    DOCS / "guides" / "precision.md",
    DOCS / "guides" / "python.md",
)


def rewritten(page: Path) -> str:
    """Return a page as its examples print it, in an empty folder beside the shipped bundles."""
    os.environ["COLUMNS"] = "90"
    with TemporaryDirectory() as folder, chdir(folder):
        Path("bundles").symlink_to(ROOT / "bundles")
        return played(page.read_text())


def main() -> int:
    """Write every page."""
    for page in PAGES:
        page.write_text(rewritten(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
