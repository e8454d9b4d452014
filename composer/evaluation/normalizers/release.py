"""The rules of the published release: deletions leave no space."""

from __future__ import annotations

import re
import string

from composer.evaluation.normalizer import Normalizer

# MNSC marks who speaks as <Speaker1>: before the words, some copies as Speaker1: at a line's start.
TAG = re.compile(r"<\s*speaker\s*\d+\s*>\s*:?|^\s*speaker\s*\d+\s*:", re.IGNORECASE | re.MULTILINE)
DELETED = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Remove speaker tags, lower the case, delete ASCII punctuation."""
    return TAG.sub(" ", text).lower().translate(DELETED)


RELEASE = Normalizer(
    "release-000",
    "1",
    "the card of gemma-4-e4b-mlx-elderwise-MERaLiON: lower case, ASCII punctuation "
    "deleted, whitespace collapsed, speaker tags removed",
    lambda text, _: normalize(text),
)
