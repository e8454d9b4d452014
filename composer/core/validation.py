"""Describe what pydantic refuses."""

from __future__ import annotations

from pydantic import ValidationError


def first_error(error: ValidationError) -> str:
    """Return the place and the message of the first error."""
    first = error.errors(include_url=False)[0]
    return " ".join(map(str, (*first["loc"], first["msg"])))
