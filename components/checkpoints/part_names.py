"""The names of a decoder's tensors, and those of the larger checkpoint that stores them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .embedding_table import TABLE

HEADS = ("lm_head.", "score.")


@dataclass(frozen=True)
class PartNames:
    """Where the tensors of a decoder are stored: under `prefix`, those of its head under `head`.

    `root` begins the decoder's own names where the stored ones have `prefix` in its place.
    """

    prefix: str = ""
    root: str = ""
    head: str = ""

    def stored(self, name: str) -> str:
        """Return the stored name of a tensor of the decoder."""
        if name.startswith(HEADS):
            return self.head + name
        return self.prefix + name.removeprefix(self.root)

    def own(self, name: str) -> str | None:
        """Return the decoder's name of a stored tensor or module, None where it is another's."""
        rest = name.removeprefix(self.head)
        if name.startswith(self.head) and f"{rest}.".startswith(HEADS):
            return rest
        if not name.startswith(self.prefix):
            return None
        return self.root + name.removeprefix(self.prefix)


WHOLE = PartNames()  # of a checkpoint that holds a decoder alone


def find_part_names(prefix: str, names: Collection[str]) -> PartNames:
    """Return how the tensors under a prefix are named.

    Where the embeddings come right after it, as in `model.language_model.embed_tokens`, the head is
    stored beside what the prefix leads to: at the nearest level above that has one.
    """
    if prefix + TABLE not in names:
        return PartNames(prefix, "", prefix)
    above = prefix
    while above:
        above = above[: above[:-1].rfind(".") + 1]
        if any(name.startswith(f"{above}{HEADS[0]}") for name in names):
            break
    return PartNames(prefix, "model.", above)


def part_prefix(table: str) -> str:
    """Return the prefix that names the decoder whose embeddings have this name."""
    levels = table.removesuffix(f".{TABLE}").split(".")
    if len(levels) > 1 and levels[-1] == "model":
        levels.pop()
    return ".".join(levels)
