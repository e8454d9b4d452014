"""Compare composer with its peers: the same weights, the same ids, in turns."""

from __future__ import annotations


def main(arguments: list[str]) -> None:
    """Print the tables."""
    from benchmarks.peers.table import main as tables

    tables(arguments)
