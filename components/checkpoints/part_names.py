"""The names of a decoder's tensors, and those of the larger checkpoint that stores them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .embedding_table import TABLE
from .inline_adapter import BASE, adapter_of, wrapped_modules

HEADS = ("lm_head.", "score.")


@dataclass(frozen=True)
class PartNames:
    """Where the tensors of a decoder are stored: under `prefix`, those of its head under `head`.

    `root` begins the decoder's own names where the stored ones have `prefix` in its place. Modules
    that are `wrapped` by PEFT are stored under `base_layer`, with adapters beside them.
    """

    prefix: str = ""
    root: str = ""
    head: str = ""
    wrapped: frozenset[str] = frozenset()

    def stored(self, name: str) -> str:
        """Return the stored name of a tensor of the decoder."""
        found = self.prefix + name.removeprefix(self.root)
        if name.startswith(HEADS):
            found = self.head + name
        module, _, leaf = found.rpartition(".")
        return f"{module}.{BASE}.{leaf}" if module in self.wrapped else found

    def own(self, name: str) -> str | None:
        """Return the decoder's name of a stored tensor or module, None where it is another's."""
        if adapter_of(name):
            return None
        module, base, leaf = name.rpartition(f".{BASE}")
        if base and module in self.wrapped:
            name = module + leaf
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
    wrapped = wrapped_modules(names)
    if prefix + TABLE not in names:
        return PartNames(prefix, "", prefix, wrapped)
    above = prefix
    while above:
        above = above[: above[:-1].rfind(".") + 1]
        if any(name.startswith(f"{above}{HEADS[0]}") for name in names):
            break
    return PartNames(prefix, "model.", above, wrapped)


def part_prefix(table: str) -> str:
    """Return the prefix that names the decoder whose embeddings have this name."""
    levels = table.removesuffix(f".{TABLE}").split(".")
    if len(levels) > 1 and levels[-1] == "model":
        levels.pop()
    return ".".join(levels)
