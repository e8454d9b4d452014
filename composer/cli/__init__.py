"""The command line."""

from composer.cli.start import main

__all__ = ["main"]
