"""From how many rows on a prompt is multiplied by weights that are unpacked for it."""

from __future__ import annotations

from math import ceil, prod

from ...models.decoder import ParsedDecoder

# By bits, in the same unit of time a weight: what unpacking takes once, and what a row takes more
# in planes than by unpacked weights. Measured, see docs/decisions/019-planes.md.
UNPACKING = {4: 56.0, 8: 26.0}
ROW = {4: 2.7, 8: 4.3}


def rows_to_unpack_for(found: ParsedDecoder) -> int:
    """Return the least rows for which unpacking a decoder takes no longer than planes of them.

    It is the same number wherever a checkpoint is loaded, so that its results are, too.
    """
    once = each = 0.0
    for module in found.modules.values():
        if module.scheme and module is not found.table and module is not found.head:
            once += prod(module.shape) * UNPACKING[module.scheme.bits]
            each += prod(module.shape) * ROW[module.scheme.bits]
    return ceil(once / each) if each else 1
