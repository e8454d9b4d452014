"""Distinguish failures from ends that were asked for: a native library's panic is no Exception."""

from __future__ import annotations

_ENDS = (KeyboardInterrupt, SystemExit, GeneratorExit)


def is_failure(error: BaseException) -> bool:
    """Return whether something failed: any error, and the panics that PyO3 raises beside them."""
    return not isinstance(error, _ENDS)


def describe_error(error: BaseException) -> str:
    """Return an error's type and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
