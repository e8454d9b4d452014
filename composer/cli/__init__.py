"""The command line: parse, call a job, print (top level)."""

from composer.cli.start import main

__all__ = ["main"]
