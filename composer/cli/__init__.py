"""The command line."""

from composer.cli.app import main

__all__ = ["main"]
