"""Serve a folder of repositories until interrupted."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from mirror.repository import repositories
from mirror.server import Mirror


def main() -> None:
    """Parse the arguments, print what is served and where, and serve."""
    parser = argparse.ArgumentParser(prog="python -m mirror", description=__doc__)
    parser.add_argument("folder", type=Path, help="owner/name/files, or a Hugging Face cache")
    parser.add_argument("--port", type=int, default=8765)
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is not a folder")
    found = repositories(arguments.folder)
    if not found:
        parser.error(f"{arguments.folder} has neither owner/name/files nor models--owner--name")
    with Mirror(found, port=arguments.port, separate_store=False) as mirror:
        for name, repository in found.items():
            for ref, commit in repository.refs.items():
                if ref != commit:
                    print(f"{name}@{ref}  {commit}  {len(repository.files(ref))} files")
        print(f"HF_ENDPOINT={mirror.url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
