"""Keep the working folder, which may be untrusted, out of where modules are looked for."""

import os
import sys


def leave_working_folder(package: str) -> None:
    """Import no more from the working folder where Python was started as `python -m PACKAGE`.

    `-m` puts that folder first. What Python itself imports before the package is out of reach:
    only `python -P`, or an installed script, never looks there.
    """
    if sys.argv[:1] != ["-m"] or sys.flags.safe_path or not _starts(package):
        return
    try:
        here = os.getcwd()
    except OSError:
        here = ""
    if sys.path and sys.path[0] in ("", here):
        del sys.path[0]


def _starts(package: str) -> bool:
    """Return whether the module that Python is starting belongs to a package."""
    given = sys.orig_argv
    for at, text in enumerate(given):
        if text.startswith("-") and text.endswith("m") and not text.startswith("--"):
            name = given[at + 1] if at + 1 < len(given) else ""
        elif text.startswith("-m"):
            name = text[2:]
        else:
            continue
        if name.split(".")[0] == package:
            return True
    return False
