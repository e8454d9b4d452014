"""Write quantities with their units, as people read them."""

from __future__ import annotations

UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def format_bytes(nbytes: int) -> str:
    """Return bytes as people read them: 12.3 MB."""
    for scale, unit in UNITS:
        if nbytes >= 0.9995 * scale:
            digits = 3 if nbytes < 1000 * scale else 6
            return f"{nbytes / scale:.{digits}g} {unit}"
    return f"{nbytes} B"
