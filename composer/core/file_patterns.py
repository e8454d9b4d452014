"""Names of files with * and ?, which some shells, and quotes, leave as they are."""

from __future__ import annotations

import glob
import os


def is_pattern(name: str) -> bool:
    """Return whether a name has signs of a pattern, and is not that of a file or folder."""
    return glob.has_magic(name) and not os.path.exists(name)


def matching(pattern: str) -> list[str]:
    """Return the files and folders that a pattern matches, in the order of their names.

    `**` stands for any folders.
    """
    return sorted(glob.glob(pattern, recursive=True))
