"""Build the site of the documentation; a warning, such as a broken link, is an error."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from sphinx.cmd.build import build_main

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Build the site; return 0 where nothing is wrong."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--target", default=str(ROOT / "build" / "site"), help="where to build it")
    parser.add_argument("--source", default=str(ROOT), help="the source tree with README and docs/")
    given = parser.parse_args()
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--builder", "html"]
    settings = ["--conf-dir", str(ROOT / "scripts" / "site")]
    cache = ["--doctree-dir", f"{given.target}.cache"]
    return build_main([*options, *settings, *cache, given.source, given.target])


if __name__ == "__main__":
    sys.exit(main())
