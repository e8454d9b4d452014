"""A normaliser: a rule that makes texts comparable before their words are counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from composer.core.extensions import extension, extensions
from composer.evaluation.alignment import AlignedWords

GROUP = "composer.normalizers"
Fields = Mapping[str, str]


@dataclass(frozen=True)
class Normalizer:
    """A rule with its name, which is that of its entry point, and its version.

    `source` is the implementation it reproduces. `call` takes a text and the other fields of its
    line and returns words separated by spaces. `unscored` lists which normalised references the
    source leaves out. `align` aligns words if the source does more than count edits.
    """

    name: str
    version: str
    source: str
    call: Callable[[str, Fields], str]
    unscored: Callable[[str], bool] = lambda reference: False
    align: Callable[[list[str], list[str]], tuple[AlignedWords, ...]] | None = None

    def __call__(self, text: str, fields: Fields | None = None) -> str:
        return " ".join(self.call(text, fields or {}).split())

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def normalizers() -> list[str]:
    """Return the names of all normalisers."""
    return extensions(GROUP)


def normalizer(name: str) -> Normalizer:
    """Return a normaliser; raise KeyError if there is none."""
    loaded: Normalizer = extension(GROUP, name)
    return loaded
