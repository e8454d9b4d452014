"""The rule that changes nothing."""

from __future__ import annotations

from composer.evaluation.normalizer import Normalizer

NONE = Normalizer("none", "1", "the texts as they are", lambda text, _: text)
