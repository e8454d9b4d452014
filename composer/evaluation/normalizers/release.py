"""The rules of the published release: what they delete leaves no space behind."""

from __future__ import annotations

import re
import string

# MNSC marks who speaks as <Speaker1>: before the words, some copies as Speaker1: at a line's start.
TAG = re.compile(r"<\s*speaker\s*\d+\s*>\s*:?|^\s*speaker\s*\d+\s*:", re.IGNORECASE | re.MULTILINE)
DELETED = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Remove speaker tags, lower the case, delete ASCII punctuation."""
    return TAG.sub(" ", text).lower().translate(DELETED)
