"""Join texts that follow one another in the way of their script."""

from __future__ import annotations

import re

# Thai, Lao, Burmese, Khmer; Chinese and Japanese with their punctuation, also of full width.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uff00-\uff9f\U00020000-\U0003ffff]"
)


def separator(before: str, after: str, join: str) -> str:
    """Return what joins two texts: `join`, but no space within a script that has none."""
    if join == " " and _UNSPACED.match(before[-1:]) and _UNSPACED.match(after):
        return ""
    return join
